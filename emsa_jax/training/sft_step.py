"""The programs of the cold start, compiled for every size of a batch before the first update."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

from emsa_jax.learning.sft_update import SftBatch, sft_update, split_trained
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.policy.inputs import InputShape
from emsa_jax.rollout.answering import Asked
from emsa_jax.rollout.sampler import Completions
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.programs import Program, Programs, remat_forms
from emsa_jax.training.training_options import SftOptions
from emsa_jax.training.validation import compile_validation


@dataclass(frozen=True, kw_only=True)
class SftStep:
    """The compiled programs of the cold start. The frozen parameters are bound to them.

    update: (prompt bucket, answer slots) -> (state, SftBatch) -> (state, metrics). The state given is used up.
    relayout: what is trained -> the same as decoding reads it; None where the update reads it in the same way.
    answer: bucket of the validation set -> (parameters, adapter, inputs, noise, prompt_ids) -> Completions, greedy.
    decode_base: the frozen parameters as decoding reads them.
    """

    update: Mapping[tuple[int, int], Program]
    relayout: Program | None
    answer: Mapping[int, Program]
    decode_base: dict

    def answers_of(self, trained: Any) -> Callable[..., Completions]:
        """How what is trained answers: (bucket, inputs, noise, prompt_ids) -> Completions."""
        params, adapter = split_trained(self.relayout(trained) if self.relayout else trained, self.decode_base)
        return lambda bucket, *asked: self.answer[bucket](params, adapter, *asked)


def compile_sft(
    options: SftOptions,
    checkpoint: Checkpoint,
    *,
    state: Any,
    base: dict,
    optimizer: optax.GradientTransformation,
    placement: Placement,
    train_shapes: Mapping[int, InputShape],
    sizes: Collection[tuple[int, int]],
    asked: Mapping[int, Asked],
    max_completion_length: int,
) -> SftStep:
    """Compiles every program of the cold start before its first update.

    base: the frozen parameters; {} where all are trained. train_shapes: bucket -> sizes of one shard's inputs.
    sizes: (prompt bucket, answer slots) of all batches. asked: bucket -> clips of the validation set.
    max_completion_length: tokens after which an answer in validation is cut off."""

    def update(base: dict, state: Any, batch: SftBatch, *, remat: str) -> tuple[Any, dict]:
        return sft_update(state, base, batch, config=checkpoint.config, optimizer=optimizer, remat=remat)

    programs, updates = Programs(placement.update), {}
    forms = {
        remat: functools.partial(update, remat=remat) for remat in remat_forms(options.remat, placement.update.mesh)
    }
    micro, rows = options.batch_size // options.micro_batches, placement.update.batch(1)
    out = (placement.update.state(state), placement.update.whole)
    for bucket, slots in sorted(set(sizes)):
        answers = (options.micro_batches, micro, slots)
        tokens, mask = (jax.ShapeDtypeStruct(answers, dtype, sharding=rows) for dtype in (np.int32, bool))
        batch = SftBatch(placement.inputs(train_shapes[bucket], micro, options.micro_batches), tokens, mask)
        label = f"update/{bucket}/{slots}"
        program, remat = programs.add_fitting("update", forms, base, state, batch, label=label, donate=(1,), out=out)
        updates[bucket, slots] = program.bind(base)
        if options.remat == "auto":
            say(f"{label}: remat {remat}")
    relayout, decode_base, trained = None, base, state.params
    if placement.has_two_layouts:
        relayout = programs.add("layout", lambda t: t, trained, out=placement.decode.trained(trained))
        trained, decode_base = relayout.out, placement.for_decoding(base) if base else base
    answer = compile_validation(
        programs,
        asked,
        *split_trained(trained, decode_base),
        checkpoint.config,
        placement=placement,
        max_completion_length=max_completion_length,
    )
    programs.report()
    return SftStep(update=updates, relayout=relayout, answer=answer, decode_base=decode_base)
