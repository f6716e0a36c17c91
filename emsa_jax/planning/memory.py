"""What a stage needs of each device's memory, by arithmetic, before anything is loaded.

What is held through a whole stage (weights, adapter, optimizer) is exact. What a phase adds to it is estimated by
`planning.activations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax

from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.planning.activations import Activations
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.lora import abstract_adapter
from emsa_jax.policy.parameter_table import abstract_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker import trained_towers
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.runtime.hardware import device_bytes
from emsa_jax.runtime.placement import Placement, bytes_per_device
from emsa_jax.runtime.programs import MEMORY_LIMIT, remat_forms

SURE = 0.85  # part of a device's memory; an estimate below it fits for the compilers too (tests/aot)
_LITTLE = 0.1  # part of a device's memory; a plan that needs less is described in one line


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of one device.

    Attributes:
      held: what lies on the device through a whole step, by name.
      phases: what each phase adds to it, by name.
      capacity: what programs may use.
    """

    held: Mapping[str, int]
    phases: Mapping[str, Mapping[str, int]]
    capacity: int

    def need(self, phase: str) -> int:
        """Everything that has to fit at once in a phase."""
        return sum(self.held.values()) + sum(self.phases[phase].values())

    @property
    def worst(self) -> str:
        """The phase that needs most."""
        return max(self.phases, key=self.need)

    @property
    def fits(self) -> bool:
        """Whether every phase fits."""
        return self.need(self.worst) <= self.capacity

    def lines(self, brief: bool = False) -> list[str]:
        """A line for what is held and a line for each phase.

        Args:
          brief: one line for everything, where the worst phase needs little of the device.
        """
        held = f"memory of each device: {gb(self.capacity)}; held: {_join_sizes(self.held)}"
        if brief and self.need(self.worst) < _LITTLE * self.capacity:
            return [f"{held}; most is needed by {self.worst}: {gb(self.need(self.worst))}"]
        return [held] + [
            f"  {phase}: {gb(self.need(phase))} = held + {_join_sizes(adds)}" for phase, adds in self.phases.items()
        ]


@dataclass(frozen=True, kw_only=True)
class GrpoWork:
    """What decides how much memory a GRPO step needs.

    Attributes:
      dtype: of the base, "float32" or "bfloat16".
      prompts: of a whole step.
      group_size: answers to a prompt.
      answer_rows: rows that the answers to a prompt take in the update, at most.
      answer_slots: tokens that are reserved for an answer, forced ones included.
      micro_batches: parts that an update takes one after the other.
      remat: what the backward pass computes again: "none", "dots", "full" or "auto".
      reference: whether there is a reference adapter beside the trained one.
      ends: tokens of the tree of scores that the reward expects, 0 where it expects none.
      keeps_best: whether the best adapter so far is kept beside the trained one.
    """

    dtype: str
    lora: LoraOptions
    optimizer: OptimizerOptions
    prompts: int
    group_size: int
    answer_rows: int
    answer_slots: int
    micro_batches: int
    remat: str
    reference: bool
    ends: int = 0
    keeps_best: bool = False


@dataclass(frozen=True, kw_only=True)
class AnswerWork:
    """What decides how much memory prediction needs.

    Attributes:
      dtype: of the base, "float32" or "bfloat16".
      adapter: the options of the policy's adapter, None without one.
      batch_size: prompts of a batch on the whole mesh.
      answers: answers to a prompt, at most.
      answer_slots: tokens that are reserved for an answer.
      ends: tokens of the tree of scores that are expected, 0 where none are.
    """

    dtype: str
    adapter: LoraOptions | None
    batch_size: int
    answers: int
    answer_slots: int
    ends: int = 0


@dataclass(frozen=True, kw_only=True)
class SftWork:
    """What decides how much memory an update of the cold start and its validation need.

    Attributes:
      trained: options of the adapter that is trained, or "all" where the whole policy is.
      batch_size: prompts of an update.
      micro_batches: parts that an update takes one after the other.
      remat: what the backward pass computes again: "none", "dots", "full" or "auto".
      trace_slots: tokens of the longest trace.
      validation: how the validation answers, in the same dtype.
    """

    trained: LoraOptions | Literal["all"]
    optimizer: OptimizerOptions
    batch_size: int
    micro_batches: int
    remat: str
    trace_slots: int
    validation: AnswerWork

    @property
    def dtype(self) -> str:
        """Of the policy, "float32" or "bfloat16"."""
        return self.validation.dtype


def grpo_memory(
    work: GrpoWork, policy: ThinkerConfig, placement: Placement, shape: InputShape, capacity: int = 0
) -> MemoryPlan:
    """The memory of a GRPO step.

    Args:
      shape: of one shard of a step's prompts, in the longest bucket.
      capacity: bytes that a device has for programs; 0: those of the devices of this run.
    """
    if work.remat == "auto":
        return _first_that_fits(work, placement, lambda one: grpo_memory(one, policy, placement, shape, capacity))
    sizes, prompts = Activations(policy, placement, work.dtype), work.prompts // placement.sharding.num_shards
    adapter = abstract_adapter(policy, work.lora)
    held = _held(policy, placement, adapter, dtype=work.dtype, optimizer=work.optimizer)
    if work.reference:
        held["reference"] = bytes_per_device(adapter, placement.update.adapter(adapter))
    if work.keeps_best:
        held["best so far"] = bytes_per_device(adapter, placement.update.adapter(adapter))
    held["inputs"] = sizes.inputs(shape)
    trained = bytes_per_device(adapter, placement.update.trained(adapter))
    update = sizes.update(prompts // work.micro_batches, shape.prompt, work.answer_rows, work.answer_slots, work.remat)
    if adapter.touches_towers:  # all media are encoded again within every micro-batch
        update += sizes.behind_towers(shape, trained_towers(adapter)) + sizes.encode(prompts, shape).get(
            "activations", 0
        )
    phases = {
        "encode": sizes.encode(prompts, shape),
        "prefill": sizes.prefill(prompts, shape.prompt),
        "decode": sizes.decode(prompts, shape.prompt, work.group_size, work.answer_slots, trained),
        "update": {
            "prompts": sizes.prompts(prompts, shape.prompt),
            "gradients": 2 * trained,
            "activations": update,
        },
    }
    if work.ends:
        phases["ends"] = sizes.ends(prompts, shape.prompt, work.group_size, work.answer_slots, work.ends)
    return MemoryPlan(held, phases, capacity or device_bytes())


def sft_memory(
    work: SftWork, policy: ThinkerConfig, placement: Placement, shape: InputShape, validation_shape: InputShape
) -> MemoryPlan:
    """The memory of an update of the cold start and of its validation.

    Args:
      shape: of one shard of a micro-batch. validation_shape: of one shard of a batch of the validation.
    """
    if work.remat == "auto":
        return _first_that_fits(
            work, placement, lambda one: sft_memory(one, policy, placement, shape, validation_shape)
        )
    sizes, trains_all = Activations(policy, placement, work.dtype), work.trained == "all"
    trained = abstract_params(policy, work.dtype) if trains_all else abstract_adapter(policy, work.trained)
    trained_size = bytes_per_device(trained, placement.update.trained(trained))
    held = _held(policy, placement, trained, dtype=work.dtype, optimizer=work.optimizer)
    held |= {"best so far": trained_size, "inputs": work.micro_batches * sizes.inputs(shape)}
    rows = work.batch_size // work.micro_batches // placement.sharding.num_shards
    towers = ("audio", "vision") if trains_all else trained_towers(trained)
    update = {
        "prompts": sizes.prompts(rows, shape.prompt),
        "gradients": 2 * trained_size,
        "activations": sizes.behind_towers(shape, towers)
        + max(
            sizes.update(rows, shape.prompt, 1, work.trace_slots, work.remat),
            sizes.encode(rows, shape).get("activations", 0),  # media are encoded within the update
        ),
    }
    phases = _answer_phases(work.validation, sizes, validation_shape, 0 if trains_all else trained_size)
    worst = max(phases, key=lambda phase: sum(phases[phase].values()))
    return MemoryPlan(held, {"update": update, "validation": phases[worst]}, device_bytes())


def answer_memory(work: AnswerWork, policy: ThinkerConfig, placement: Placement, shape: InputShape) -> MemoryPlan:
    """The memory of prediction.

    Args:
      shape: of one shard of a batch.
    """
    sizes, adapter_size = Activations(policy, placement, work.dtype), 0
    base = abstract_params(policy, work.dtype)
    held = {"base": bytes_per_device(base, placement.decode.params())}
    if work.adapter is not None:
        adapter = abstract_adapter(policy, work.adapter)
        held["adapter"] = adapter_size = bytes_per_device(adapter, placement.decode.adapter(adapter))
    held["inputs"] = sizes.inputs(shape)
    return MemoryPlan(held, _answer_phases(work, sizes, shape, adapter_size), device_bytes())


def _first_that_fits(work: Any, placement: Placement, plan_of: Callable[[Any], MemoryPlan]) -> MemoryPlan:
    """The plan of the form of an update that `Programs.add_fitting` will take, as far as arithmetic knows."""
    for remat in remat_forms("auto", placement.update.mesh):
        plan = plan_of(replace(work, remat=remat))
        if plan.need("update") <= MEMORY_LIMIT * plan.capacity:
            break
    return plan


def _held(
    policy: ThinkerConfig, placement: Placement, trained: Any, *, dtype: str, optimizer: OptimizerOptions
) -> dict[str, int]:
    """What lies on a device while something is trained: an adapter over the base, or the whole policy."""
    base, decode = abstract_params(policy, dtype), placement.decode
    state = jax.eval_shape(lambda t: create_state(t, build_optimizer(optimizer, 1)), trained)
    state_size = bytes_per_device(state, placement.update.state(state))
    trained_size = bytes_per_device(trained, placement.update.trained(trained))
    trains_all = isinstance(trained, dict)
    held = {"policy": trained_size}
    if not trains_all:
        held = {"base": bytes_per_device(base, placement.update.params()), "adapter": trained_size}
    held["optimizer"] = state_size - trained_size
    if placement.has_two_layouts:
        held["base for decoding"] = bytes_per_device(base, decode.params())
        if not trains_all:
            held["adapter"] += bytes_per_device(trained, decode.adapter(trained))
    return held


def _answer_phases(
    work: AnswerWork, sizes: Activations, shape: InputShape, adapter_size: int
) -> dict[str, dict[str, int]]:
    rows = work.batch_size // sizes.placement.sharding.num_shards
    phases = {
        "encode": sizes.encode(rows, shape),
        "prefill": sizes.prefill(rows, shape.prompt),
        "decode": sizes.decode(rows, shape.prompt, work.answers, work.answer_slots, adapter_size),
    }
    if work.ends:
        phases["ends"] = sizes.ends(rows, shape.prompt, work.answers, work.answer_slots, work.ends)
    return phases


def _join_sizes(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {gb(size)}" for name, size in parts.items())


def gb(size: int) -> str:
    """A number of bytes as a person reads it, in units of 10^9 or 10^6."""
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
