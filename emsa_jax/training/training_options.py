"""What can be said of the stages that learn. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.errors import InputError
from emsa_jax.learning.learning_options import OptimizerOptions


def _at_least(options, lowest: int, *names: str) -> None:
    for name in names:
        if getattr(options, name) < lowest:
            raise InputError(f"{name} must be at least {lowest}, not {getattr(options, name)}")


def _divides(whole: int, parts: int, name: str) -> None:
    if parts and whole % parts:
        raise InputError(f"{name} {whole} must be a multiple of micro_batches {parts}")


@dataclass(frozen=True)
class SftOptions:
    """The cold start.

    trainable: "lora" over the given policy, or "all" for one without a pretrained base.
    epochs: passes over the kept traces at most. max_steps: updates at most, in place of epochs (0: epochs count).
    micro_batches: parts that an update takes in turn; 0: as few as fit the devices by arithmetic (jobs/memory.py).
    eval_every: updates between evaluations on the validation split, at most eval_clips of it.
    patience: evaluations without a rise of the validation reward after which it stops, keeping the best.
    balance: repeat the clips of rarer polarities in each pass until all are equally frequent. max_per_class: learn from
    at most so many traces of each class (0: all); which ones hangs on the seed and their ids alone.
    targets: "traces", or "labels" for formats without reasoning: every labelled clip, and no traces.
    """

    trainable: Literal["lora", "all"] = "lora"
    targets: Literal["traces", "labels"] = "traces"
    epochs: float = 3.0
    max_steps: int = 0
    batch_size: int = 32
    micro_batches: int = 1
    eval_every: int = 50
    eval_clips: int = 128
    patience: int = 3
    save_every: int = 50
    balance: bool = False
    max_per_class: int = 0
    remat: Literal["none", "dots", "full"] = "full"
    optimizer: OptimizerOptions = OptimizerOptions(1e-5, warmup_fraction=0.03, weight_decay=0.01, b2=0.95)

    def __post_init__(self) -> None:
        _at_least(self, 0, "epochs", "max_steps", "max_per_class", "micro_batches")
        _at_least(self, 1, "batch_size", "eval_every", "eval_clips", "patience", "save_every")
        if not self.epochs and not self.max_steps:
            raise InputError("set epochs or max_steps: the schedule needs an end")
        _divides(self.batch_size, self.micro_batches, "batch_size")


@dataclass(frozen=True)
class GrpoOptions:
    """Hint-GRPO.

    group_size: G, answers to a prompt. prompts_per_step: N. num_iterations: updates on each rollout.
    epochs, max_steps, micro_batches, balance: as in the cold start. samples: prompts of each step whose answers are
    written out.
    remat: what the backward pass computes again: "none", "dots" (all but products), "full", or "auto", the first of
    these that fits the device.
    answer_rows: rows that the answers of a group are packed into for reference and update, as many as one of these
    that suffices; () for a row each. Saves time where answers are much shorter than the longest may be.
    """

    group_size: int = 4
    prompts_per_step: int = 64
    num_iterations: int = 1
    epochs: float = 1.0
    max_steps: int = 0
    micro_batches: int = 1
    save_every: int = 10
    samples: int = 2
    balance: bool = False
    answer_rows: tuple[int, ...] = ()
    remat: Literal["auto", "none", "dots", "full"] = "auto"
    optimizer: OptimizerOptions = OptimizerOptions(1e-5, warmup_fraction=0.03, weight_decay=0.01, b2=0.95)

    def __post_init__(self) -> None:
        _at_least(self, 0, "epochs", "max_steps", "samples", "micro_batches")
        if not all(1 <= rows <= self.group_size for rows in self.answer_rows):
            raise InputError(f"answer_rows must be between 1 and group_size {self.group_size}, not {self.answer_rows}")
        _at_least(self, 1, "prompts_per_step", "num_iterations", "save_every")
        if self.group_size < 2:
            raise InputError(f"group_size must be at least 2, not {self.group_size}: an advantage needs others")
        if not self.epochs and not self.max_steps:
            raise InputError("set epochs or max_steps: the schedule needs an end")
        _divides(self.prompts_per_step, self.micro_batches, "prompts_per_step")

    @property
    def row_sizes(self) -> tuple[int, ...]:
        """The row counts that are compiled, rising; the last holds any answers."""
        return tuple(sorted({*self.answer_rows, self.group_size}))
