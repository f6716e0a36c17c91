"""What follows from a memory plan: how many micro-batches fit, what is announced, and which field to change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from emsa_jax.errors import InputError
from emsa_jax.parallel import processes
from emsa_jax.planning.memory import SURE, AnswerWork, GrpoWork, MemoryPlan, SftWork, gb, grpo_memory, sft_memory
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement


def fit_grpo(
    work: GrpoWork, policy: ThinkerConfig, placement: Placement, shape: InputShape, capacity: int = 0
) -> tuple[GrpoWork, MemoryPlan]:
    """The work with its micro-batches chosen, if they are 0, and its memory plan.

    Args:
      shape, capacity: as for `grpo_memory`.
    """

    def plan_of(count: int) -> MemoryPlan:
        return grpo_memory(replace(work, micro_batches=count), policy, placement, shape, capacity)

    shard_prompts = work.prompts // placement.sharding.num_shards
    count = choose_micro_batches(work.micro_batches, "grpo.micro_batches", shard_prompts, plan_of)
    return replace(work, micro_batches=count), plan_of(count)


def fit_sft(
    work: SftWork,
    policy: ThinkerConfig,
    placement: Placement,
    shape_of: Callable[[int], InputShape],
    validation_shape: InputShape,
) -> tuple[SftWork, MemoryPlan]:
    """The work with its micro-batches chosen, if they are 0, and its memory plan.

    Args:
      shape_of: the shape of so many prompts, those of one shard of a micro-batch.
      validation_shape: as for `sft_memory`.
    """
    shard_prompts = work.batch_size // placement.sharding.num_shards

    def plan_of(count: int) -> MemoryPlan:
        shape = shape_of(shard_prompts // count)
        return sft_memory(replace(work, micro_batches=count), policy, placement, shape, validation_shape)

    count = choose_micro_batches(work.micro_batches, "sft.micro_batches", shard_prompts, plan_of)
    return replace(work, micro_batches=count), plan_of(count)


def choose_micro_batches(
    micro_batches: int, field: str, shard_prompts: int, plan_of: Callable[[int], MemoryPlan]
) -> int:
    """How many micro-batches an update has: as many as are asked for, or for 0 as few as fit.

    Process 0 chooses for all: devices that report a little more or less memory would else run different programs.

    Args:
      field: the name of the option, such as "grpo.micro_batches".
      shard_prompts: prompts of an update in each shard; a micro-batch has at least one of them.
      plan_of: the memory plan for a number of micro-batches.
    """
    if micro_batches:
        return micro_batches

    def fewest() -> int:
        for count in (n for n in range(1, shard_prompts + 1) if shard_prompts % n == 0):
            plan = plan_of(count)
            if plan.need("update") <= SURE * plan.capacity:
                break
        say(f"{field}: {count}, with which an update needs {gb(plan.need('update'))}")
        return count

    return processes.broadcast(fewest, field)


def announce(plan: MemoryPlan, advice: str) -> None:
    """Says what a stage will need of the devices of this run, and what to change if that may be too much.

    Raises:
      InputError: what is held throughout is too much already; that part of the plan is exact.
    """
    for line in plan.lines(brief=True):
        say(line)
    if (held := sum(plan.held.values())) > plan.capacity:
        raise InputError(f"memory: {gb(held)} are held on each device, and it has {gb(plan.capacity)}; {advice}")
    if not plan.fits:
        say(f"memory: {plan.worst} may need more than there is; {advice}")


def grpo_advice(plan: MemoryPlan, work: GrpoWork, placement: Placement) -> str:
    """What to change where a GRPO step does not fit; the field that costs least first."""
    shard_prompts = work.prompts // placement.sharding.num_shards
    if _is_held_too_much(plan):
        if plan.held.get("inputs", 0) > 0.5 * sum(plan.held.values()):
            return f"lower grpo.prompts_per_step (now {work.prompts}): inputs are most of what is held"
        return _cut_weights(work.dtype, placement)
    if plan.worst == "update":
        return _lighter_update("grpo", work, shard_prompts) or _narrower(
            work.dtype, f"lower sampling.max_completion_length or grpo.group_size{_more_heads(placement)}"
        )
    if shard_prompts > 1:
        return f"lower grpo.prompts_per_step (now {work.prompts}): {plan.worst} runs all of them at once"
    return _narrower(
        work.dtype,
        {
            "encode": "show fewer or smaller frames (prepare.*)",
            "prefill": f"show fewer or smaller frames (prepare.*){_more_heads(placement)}",
            "decode": "lower grpo.group_size or sampling.max_completion_length",
            "ends": "lower grpo.group_size or sampling.max_completion_length",
        }[plan.worst],
    )


def sft_advice(plan: MemoryPlan, work: SftWork, placement: Placement) -> str:
    """What to change where the cold start does not fit; the field that costs least first."""
    if _is_held_too_much(plan):
        return _cut_weights(work.dtype, placement) + (", or sft.trainable=lora" if work.trained == "all" else "")
    if plan.worst == "validation":
        return answer_advice(plan, work.validation, placement)
    return _lighter_update("sft", work, work.batch_size // placement.sharding.num_shards) or _narrower(
        work.dtype, f"show fewer or smaller frames (prepare.*){_more_heads(placement)}"
    )


def answer_advice(plan: MemoryPlan, work: AnswerWork, placement: Placement) -> str:
    """What to change where prediction does not fit; the field that costs least first."""
    least, now = placement.sharding.num_shards, work.batch_size
    if _is_held_too_much(plan):
        return _cut_weights(work.dtype, placement)
    if now > least:
        return f"lower evaluate.batch_size (now {now}, at least {least} here)"
    return _narrower(work.dtype, f"lower sampling.max_completion_length{_more_heads(placement)}")


def _is_held_too_much(plan: MemoryPlan) -> bool:
    """Whether what is held leaves no phase enough, so that lighter phases would not help."""
    return sum(plan.held.values()) > 0.9 * plan.capacity


def _lighter_update(stage: Literal["sft", "grpo"], work: GrpoWork | SftWork, most: int) -> str:
    """What makes an update need less, "" where nothing is left to change. most: micro-batches that there can be."""
    if work.remat not in ("auto", "full"):
        return f"set {stage}.remat=full (now {work.remat})"
    if work.micro_batches < most:
        return f"raise {stage}.micro_batches (now {work.micro_batches}, at most {most} here)"
    return ""


def _narrower(dtype: str, otherwise: str) -> str:
    return "set dtype=bfloat16" if dtype == "float32" else otherwise


def _cut_weights(dtype: str, placement: Placement) -> str:
    cut = placement.update.mesh.shape
    return _narrower(
        dtype, f"cut the weights over more devices: mesh.tensor (now {cut['tensor']}) or mesh.fsdp (now {cut['fsdp']})"
    )


def _more_heads(placement: Placement) -> str:
    """mesh.tensor, where a larger one would cut keys and values too."""
    cut, heads = placement.update.mesh.shape["tensor"], placement.update.config.text.num_key_value_heads
    return f", or raise mesh.tensor (now {cut})" if cut < heads and heads % (2 * cut) == 0 else ""
