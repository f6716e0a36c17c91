"""The options of the stages that learn, as `planning.memory` takes them."""

from __future__ import annotations

from emsa_jax.planning.memory import AnswerWork, GrpoWork, SftWork
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.training.training_options import GrpoOptions, SftOptions


def grpo_work(
    options: GrpoOptions, *, dtype: str, lora: LoraOptions, answer_slots: int, reference: bool, ends: int = 0
) -> GrpoWork:
    """A step of GRPO. answer_slots: of an answer, forced tokens included. reference: whether there is an adapter of
    the reference. ends: tokens of the tree of scores that the reward expects."""
    return GrpoWork(
        dtype=dtype,
        lora=lora,
        optimizer=options.optimizer,
        prompts=options.prompts_per_step,
        group_size=options.group_size,
        answer_rows=options.row_sizes[-1],
        answer_slots=answer_slots,
        micro_batches=options.micro_batches,
        remat=options.remat,
        reference=reference,
        ends=ends,
        keeps_best=options.eval_every > 0,
    )


def sft_work(
    options: SftOptions, *, dtype: str, lora: LoraOptions, trace_slots: int, batch_size: int, answer_slots: int
) -> SftWork:
    """An update of the cold start and its validation. trace_slots: of the longest trace. batch_size, answer_slots:
    prompts of a batch of the validation, and tokens of an answer there."""
    adapter = lora if options.trainable == "lora" else None
    validation = AnswerWork(dtype=dtype, adapter=adapter, batch_size=batch_size, answers=1, answer_slots=answer_slots)
    return SftWork(
        trained=adapter or "all",
        optimizer=options.optimizer,
        batch_size=options.batch_size,
        micro_batches=options.micro_batches,
        remat=options.remat,
        trace_slots=trace_slots,
        validation=validation,
    )
