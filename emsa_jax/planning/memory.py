"""What a stage needs on each device, by arithmetic, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax

from emsa_jax.errors import InputError
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.parallel import processes
from emsa_jax.planning.activations import Activations
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.lora import abstract_adapter
from emsa_jax.policy.parameter_table import abstract_params
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.runtime.console import say
from emsa_jax.runtime.hardware import device_bytes
from emsa_jax.runtime.placement import Placement, split_bytes
from emsa_jax.settings.config import Config

_LITTLE = 0.1  # of a device's memory
SURE = 0.85  # what is less by arithmetic is less by the compilers (tests/aot)


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of one device. held: what lies there through a whole step, by name; phases: what each phase adds to it, by
    name; there: what programs may use."""

    held: Mapping[str, int]
    phases: Mapping[str, Mapping[str, int]]
    there: int

    def need(self, phase: str) -> int:
        """All that has to fit at once in a phase."""
        return sum(self.held.values()) + sum(self.phases[phase].values())

    @property
    def worst(self) -> str:
        """The phase that needs most."""
        return max(self.phases, key=self.need)

    @property
    def fits(self) -> bool:
        """Whether every phase does."""
        return self.need(self.worst) <= self.there

    def lines(self, brief: bool = False) -> list[str]:
        """A line for what is held, and one for each phase; briefly, where it is little, the latter in a few words."""
        shown = f"memory of each device: {gb(self.there)}; held: {_listed(self.held)}"
        if brief and self.need(self.worst) < _LITTLE * self.there:
            return [f"{shown}; most is needed by {self.worst}: {gb(self.need(self.worst))}"]
        return [shown] + [
            f"  {phase}: {gb(self.need(phase))} = held + {_listed(adds)}" for phase, adds in self.phases.items()
        ]


def grpo_memory(
    config: Config,
    policy: ThinkerConfig,
    placement: Placement,
    budget: InputShape,
    slots: int,
    reference: bool,
    there: int = 0,
) -> MemoryPlan:
    """Of a GRPO step.

    Args:
      budget: of one part of a step's prompts (the longest bucket). slots: of an answer.
      reference: whether there is one beside the adapter.
      there: bytes that a device has for programs (0: those of the devices that are here).
    """
    sizes, each = (
        Activations(policy, placement, config.dtype),
        config.grpo.prompts_per_step // placement.sharding.num_shards,
    )
    adapter = abstract_adapter(policy, config.lora)
    held = _held(config, policy, placement, adapter, config.grpo.optimizer)
    if reference:
        held["reference"] = split_bytes(adapter, placement.update.adapter(adapter))
    held["inputs"] = sizes.inputs(budget)
    own = split_bytes(adapter, placement.update.trained(adapter))
    update = sizes.update(
        each // config.grpo.micro_batches, budget.prompt, config.grpo.row_sizes[-1], slots, config.grpo.remat
    )
    return MemoryPlan(
        held,
        {
            "encode": sizes.encode(each, budget),
            "prefill": sizes.prefill(each, budget.prompt),
            "decode": sizes.decode(each, budget.prompt, config.grpo.group_size, slots, own),
            "update": {"prompts": sizes.prompts(each, budget.prompt), "gradients": 2 * own, "activations": update},
        },
        there or device_bytes(),
    )


def sft_memory(
    config: Config, policy: ThinkerConfig, placement: Placement, budget: InputShape, slots: int, asking: InputShape
) -> MemoryPlan:
    """Of an update of the cold start and of its validation. budget: of one part of a micro-batch; slots: of the longest
    trace; asking: of one part of a batch that is validated."""
    options, sizes = config.sft, Activations(policy, placement, config.dtype)
    trained = (
        abstract_params(policy, config.dtype) if options.trainable == "all" else abstract_adapter(policy, config.lora)
    )
    own = split_bytes(trained, placement.update.trained(trained))
    held = _held(config, policy, placement, trained, options.optimizer)
    held |= {"best so far": own, "inputs": options.micro_batches * sizes.inputs(budget)}
    rows = options.batch_size // options.micro_batches // placement.sharding.num_shards
    update = {
        "prompts": sizes.prompts(rows, budget.prompt),
        "gradients": 2 * own,
        "activations": sizes.update(rows, budget.prompt, 1, slots, options.remat),
    }
    phases = _answers(config, sizes, asking, 1, 0 if options.trainable == "all" else own)
    worst = max(phases, key=lambda phase: sum(phases[phase].values()))
    return MemoryPlan(held, {"update": update, "validation": phases[worst]}, device_bytes())


def answer_memory(
    config: Config, policy: ThinkerConfig, placement: Placement, budget: InputShape, adapter: bool
) -> MemoryPlan:
    """Of prediction. budget: of one part of a batch of evaluation. adapter: whether the policy has one."""
    sizes, own = Activations(policy, placement, config.dtype), 0
    base = abstract_params(policy, config.dtype)
    held = {"base": split_bytes(base, placement.decode.params())}
    if adapter:
        trained = abstract_adapter(policy, config.lora)
        held["adapter"] = own = split_bytes(trained, placement.decode.adapter(trained))
    held["inputs"] = sizes.inputs(budget)
    phases = _answers(config, sizes, budget, max(1, config.evaluate.samples), own)
    return MemoryPlan(held, phases, device_bytes())


def with_micro_batches(
    config: Config, stage: Literal["sft", "grpo"], each: int, plan_of: Callable[[Config], MemoryPlan]
) -> Config:
    """The config with a stage's micro_batches chosen, if they are 0: as few as fit, at most one of the `each` prompts
    of a part at a time. Process 0 chooses, for all."""
    options = getattr(config, stage)
    if options.micro_batches:
        return config

    def of(count: int) -> Config:
        return replace(config, **{stage: replace(options, micro_batches=count)})

    def fewest() -> int:
        for count in (n for n in range(1, each + 1) if each % n == 0):
            plan = plan_of(of(count))
            if plan.need("update") <= SURE * plan.there:
                break
        say(f"{stage}.micro_batches: {count}, with which an update needs {gb(plan.need('update'))}")
        return count

    return of(processes.broadcast(fewest, f"{stage}.micro_batches"))


def announce(plan: MemoryPlan, advice: str) -> None:
    """Says what a stage will need of the devices that are here, and what to change if that may be too much.

    Raises InputError if what is held throughout is too much already: that part is exact."""
    for line in plan.lines(brief=True):
        say(line)
    if (held := sum(plan.held.values())) > plan.there:
        raise InputError(f"memory: {gb(held)} are held on each device, and it has {gb(plan.there)}; {advice}")
    if not plan.fits:
        say(f"memory: {plan.worst} may need more than there is; {advice}")


def grpo_advice(plan: MemoryPlan, config: Config, placement: Placement) -> str:
    """What to change where it does not fit; the field that costs least first."""
    each, options = config.grpo.prompts_per_step // placement.sharding.num_shards, config.grpo
    if sum(plan.held.values()) > 0.9 * plan.there:
        if plan.held.get("inputs", 0) > 0.5 * sum(plan.held.values()):
            return f"lower grpo.prompts_per_step (now {options.prompts_per_step}): inputs are most of what is held"
        return _cut_weights(config, placement)
    if plan.worst == "update":
        return _lighter_update("grpo", config, each) or _narrower(
            config, f"lower sampling.max_completion_length or grpo.group_size{_more_heads(placement)}"
        )
    if each > 1:
        return f"lower grpo.prompts_per_step (now {options.prompts_per_step}): {plan.worst} runs all of them at once"
    return _narrower(
        config,
        {
            "encode": "show fewer or smaller frames (prepare.*)",
            "prefill": f"show fewer or smaller frames (prepare.*){_more_heads(placement)}",
            "decode": "lower grpo.group_size or sampling.max_completion_length",
        }[plan.worst],
    )


def sft_advice(plan: MemoryPlan, config: Config, placement: Placement) -> str:
    """The same for the cold start."""
    if sum(plan.held.values()) > 0.9 * plan.there:
        return _cut_weights(config, placement) + (", or sft.trainable=lora" if config.sft.trainable == "all" else "")
    if plan.worst == "validation":
        return answer_advice(plan, config, placement)
    return _lighter_update("sft", config, config.sft.batch_size // placement.sharding.num_shards) or _narrower(
        config, f"show fewer or smaller frames (prepare.*){_more_heads(placement)}"
    )


def answer_advice(plan: MemoryPlan, config: Config, placement: Placement) -> str:
    """The same for prediction."""
    least, now = placement.sharding.num_shards, config.evaluate.batch_size
    if sum(plan.held.values()) > 0.9 * plan.there:
        return _cut_weights(config, placement)
    if now > least:
        return f"lower evaluate.batch_size (now {now}, at least {least} here)"
    return _narrower(config, f"lower sampling.max_completion_length{_more_heads(placement)}")


def _held(config: Config, policy: ThinkerConfig, placement: Placement, trained: Any, optimizer: Any) -> dict[str, int]:
    """What lies on a device while something is trained: an adapter over the base, or all of it."""
    base, decode = abstract_params(policy, config.dtype), placement.decode
    state = jax.eval_shape(lambda t: create_state(t, build_optimizer(optimizer, 1)), trained)
    whole = split_bytes(state, placement.update.state(state))
    own = split_bytes(trained, placement.update.trained(trained))
    alone = isinstance(trained, dict)  # no adapter over a base
    held = {"policy": own} if alone else {"base": split_bytes(base, placement.update.params()), "adapter": own}
    held["optimizer"] = whole - own
    if placement.apart:
        held["base for decoding"] = split_bytes(base, decode.params())
        if not alone:
            held["adapter"] += split_bytes(trained, decode.adapter(trained))
    return held


def _answers(
    config: Config, sizes: Activations, budget: InputShape, answers: int, adapter: int
) -> dict[str, dict[str, int]]:
    rows = config.evaluate.batch_size // sizes.placement.sharding.num_shards
    return {
        "encode": sizes.encode(rows, budget),
        "prefill": sizes.prefill(rows, budget.prompt),
        "decode": sizes.decode(rows, budget.prompt, answers, config.sampling.max_completion_length, adapter),
    }


def _lighter_update(stage: Literal["sft", "grpo"], config: Config, most: int) -> str:
    """What makes an update need less, while there is something; most: micro-batches that there can be."""
    options = getattr(config, stage)
    if options.remat not in ("auto", "full"):
        return f"set {stage}.remat=full (now {options.remat})"
    if options.micro_batches < most:
        return f"raise {stage}.micro_batches (now {options.micro_batches}, at most {most} here)"
    return ""


def _narrower(config: Config, otherwise: str) -> str:
    return "set dtype=bfloat16" if config.dtype == "float32" else otherwise


def _cut_weights(config: Config, placement: Placement) -> str:
    cut = placement.update.mesh.shape
    return _narrower(
        config, f"cut the weights over more devices: mesh.tensor (now {cut['tensor']}) or mesh.fsdp (now {cut['fsdp']})"
    )


def _more_heads(placement: Placement) -> str:
    """mesh.tensor, where more of it would cut keys and values too."""
    cut, heads = placement.update.mesh.shape["tensor"], placement.update.config.text.num_key_value_heads
    return f", or raise mesh.tensor (now {cut})" if cut < heads and heads % (2 * cut) == 0 else ""


def _listed(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {gb(size)}" for name, size in parts.items())


def gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
