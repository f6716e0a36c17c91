"""The phases of a stage that learns: what it was first asked for, and what was added when that had ended.

Each begins with what the one before has left (the best that validation found, or the last), with an optimizer whose
memory is empty and a learning rate that runs its whole schedule. So would a new stage; but this one goes on in the same
directory, with the clips whose turn it is, and against the same reference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from emsa_jax.errors import InputError
from emsa_jax.learning.learning_options import OptimizerOptions


class ExtendedOptions(Protocol):
    """Options of a stage that can be extended."""

    extend: tuple[int, ...]
    extend_rates: tuple[float, ...]
    optimizer: OptimizerOptions


@dataclass(frozen=True)
class Phase:
    """Steps, and the optimizer with whose schedule they are made."""

    steps: int
    optimizer: OptimizerOptions


@dataclass(frozen=True)
class Begun:
    """A phase that has begun. number: 0 for the first. first: steps that were done before it. bad: updates that were
    not taken before it. A checkpoint holds these numbers."""

    number: int = 0
    first: int = 0
    bad: int = 0


def further_phases(stage: str, options: ExtendedOptions, updates: int = 1) -> tuple[Phase, ...]:
    """The phases after the first, as `extend` and `extend_rates` say. updates: of the optimizer at each step. Raises
    InputError for one that would end before the warm-up of its learning rate does."""
    found = []
    for number, steps in enumerate(options.extend):
        if options.optimizer.warmup > steps * updates:
            raise InputError(
                f"{stage}.extend: {stage}.optimizer.warmup of {options.optimizer.warmup:g} updates is longer than a "
                f"phase of {steps * updates}; lengthen it"
            )
        share = options.extend_rates[number] if number < len(options.extend_rates) else 1.0
        rate = options.optimizer.learning_rate * share
        found.append(Phase(steps, replace(options.optimizer, learning_rate=rate)))
    return tuple(found)
