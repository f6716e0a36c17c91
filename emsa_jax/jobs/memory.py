"""What a GRPO step needs on each device, by arithmetic, before anything is loaded."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from emsa_jax.errors import InputError
from emsa_jax.jobs.console import say
from emsa_jax.jobs.hardware import device_bytes
from emsa_jax.jobs.options import Config
from emsa_jax.jobs.placement import WIDTH, Placement, split_bytes
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.parallel.rules import using
from emsa_jax.policy import decoder
from emsa_jax.policy.attention import BLOCK, BLOCKS, choose_kernel
from emsa_jax.policy.config import ThinkerConfig
from emsa_jax.policy.inputs import Budget
from emsa_jax.policy.lora import abstract_adapter
from emsa_jax.policy.table import abstract_params

PHASES = ("encode", "prefill", "decode", "update")
# how many of a layer's arrays are alive at once, as wide as its MLP and as its states; and in the backward pass.
# Fitted to what XLA's compilers for TPUs and GPUs say (docs/scaling.md)
_WIDE, _NARROW = 2, 6
_WIDE_BACK, _NARROW_BACK, _LOGITS_BACK = 4, 16, 2


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

    def lines(self) -> list[str]:
        """A line for what is held, and one for each phase."""
        shown = [f"memory of each device: {gb(self.there)}; held: {_listed(self.held)}"]
        return shown + [f"  {phase}: {gb(self.need(phase))} = held + {_listed(adds)}"
                        for phase, adds in self.phases.items()]


def memory_plan(config: Config, policy: ThinkerConfig, placement: Placement, state: Any, reference: Any, budget: Budget,
                slots: int, there: int) -> MemoryPlan:
    """By arithmetic.

    Args:
      state: the train state's shapes. reference: the reference adapter's, or None.
      budget: of one part of a step's prompts (the longest bucket). slots: of an answer.
      there: bytes that a device has for programs.
    """
    each = config.grpo.prompts_per_step // placement.share.shards
    width, base = WIDTH[config.dtype], abstract_params(policy, config.dtype)
    whole = split_bytes(state, placement.update.state(state))
    adapter = split_bytes(state.params, placement.update.trained(state.params))
    held = {"base": split_bytes(base, placement.update.params()), "adapter": adapter, "optimizer": whole - adapter}
    if placement.apart:
        held["base for decoding"] = split_bytes(base, placement.decode.params())
        held["adapter"] += split_bytes(state.params, placement.decode.adapter(state.params))
    if reference is not None:
        held["reference"] = split_bytes(reference, placement.update.adapter(reference))
    held["inputs"] = 4 * budget.patch_rows * budget.patch_row * policy.vision.patch_dim
    c = policy.text
    prompts = each * budget.prompt * c.hidden_size * width
    cut = placement.update.mesh.shape["tensor"]
    heads = cut if c.num_key_value_heads % cut == 0 else 1
    cache = 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * width // heads  # of one token
    caches = each * budget.prompt * cache
    with using(placement.decode.mesh, placement.decode.rules):
        kernel = c.attention
        if kernel == "auto":
            kernel = choose_kernel(decoder.platform(), config.dtype, c.head_dim, budget.prompt)
        fused = kernel != "plain"
        taken_apart = decoder.apart()
    layers = split_bytes(base["text"]["layers"], placement.decode.params()["text"]["layers"])
    answers = each * config.grpo.group_size
    decode = {"prompts": prompts, "prompt cache": caches, "answer cache": answers * slots * cache * 3 // 2,
              "logits": 4 * 4 * answers * c.vocab_size // cut}
    if taken_apart:
        decode["layers taken apart"] = layers + adapter * width // 4 + caches
    return MemoryPlan(held, {
        "encode": {"prompts": prompts, "activations": _towers(policy, budget, cut, width)},
        "prefill": {"prompts": prompts, "prompt cache": caches, "activations": _prefill(
            policy, each, budget.prompt, cut, width, fused)},
        "decode": decode,
        "update": {"prompts": prompts, "gradients": 2 * adapter, "activations": _update(
            policy, config, each // config.grpo.micro_batches, budget.prompt, slots, cut, width, fused)}}, there)


def announce(config: Config, policy: ThinkerConfig, placement: Placement, budgets: Mapping[int, Budget], slots: int,
             reference: bool) -> None:
    """Says what a run's steps will need of the devices that are here, and what to change if that may be too much.

    slots: of an answer. Raises InputError if what is held through a step is too much already: that part is exact.
    """
    adapter = abstract_adapter(policy, config.lora)
    state = jax.eval_shape(lambda a: create_state(a, build_optimizer(config.grpo.optimizer, 1)), adapter)
    plan = memory_plan(config, policy, placement, state, adapter if reference else None, budgets[max(budgets)], slots,
                       device_bytes())
    for line in plan.lines():
        say(line)
    if (held := sum(plan.held.values())) > plan.there:
        raise InputError(f"memory: {gb(held)} are held on each device, and it has {gb(plan.there)}; "
                         f"{advice(plan, config, placement)}")
    if not plan.fits:
        say(f"memory: {plan.worst} may need more than there is; {advice(plan, config, placement)}")


def advice(plan: MemoryPlan, config: Config, placement: Placement) -> str:
    """What to change where it does not fit; the field that costs least first."""
    each, options = config.grpo.prompts_per_step // placement.share.shards, config.grpo
    if sum(plan.held.values()) > 0.9 * plan.there:
        cut = placement.update.mesh.shape
        if plan.held.get("inputs", 0) > 0.5 * sum(plan.held.values()):
            return f"lower grpo.prompts_per_step (now {options.prompts_per_step}): inputs are most of what is held"
        if config.dtype == "float32":
            return "set dtype=bfloat16"
        return f"cut the weights over more devices: mesh.tensor (now {cut['tensor']}) or mesh.fsdp (now {cut['fsdp']})"
    if plan.worst == "update":
        if options.remat not in ("auto", "full"):
            return f"set grpo.remat=full (now {options.remat})"
        if options.micro_batches < each:
            return f"raise grpo.micro_batches (now {options.micro_batches}, at most {each} here)"
        return "lower sampling.max_completion_length or grpo.group_size, or raise mesh.tensor"
    if each > 1:
        return f"lower grpo.prompts_per_step (now {options.prompts_per_step}): {plan.worst} runs all of them at once"
    return {"encode": "show fewer or smaller frames (prepare.*)", "prefill": "raise mesh.tensor",
            "decode": "lower grpo.group_size or sampling.max_completion_length"}[plan.worst]


def _towers(policy: ThinkerConfig, budget: Budget, cut: int, width: int) -> int:
    """A layer of the vision tower over all rows of patches; the audio tower, which comes before, needs less."""
    c, patches = policy.vision, budget.patch_rows * budget.patch_row
    heads = c.num_heads // cut if c.num_heads % cut == 0 else c.num_heads
    logits = 4 * patches * budget.patch_row * heads
    return logits + patches * width * (_NARROW * c.hidden_size + _WIDE * c.intermediate_size // cut)


def _prefill(policy: ThinkerConfig, rows: int, prompt: int, cut: int, width: int, fused: bool) -> int:
    c = policy.text
    block = max(BLOCK, -(-prompt // BLOCKS))  # of queries: plain attention's logits are never there all at once
    logits = 0 if fused else 4 * rows * c.num_attention_heads // cut * min(block, prompt) * prompt
    return logits + rows * prompt * width * (_NARROW * c.hidden_size + _WIDE * c.intermediate_size // cut)


def _update(policy: ThinkerConfig, config: Config, rows: int, prompt: int, slots: int, cut: int, width: int,
            fused: bool) -> int:
    """Of one micro-batch: what every layer leaves behind for the backward pass, one layer's workspace, the head's."""
    c = policy.text
    answers = config.grpo.row_sizes[-1] * slots  # of a prompt
    tokens = rows * (prompt + answers)
    pairs = 0 if fused else 4 * rows * c.num_attention_heads // cut * (prompt**2 + answers * (prompt + slots))
    wide = 2 * c.intermediate_size // cut + (c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim // cut
    kept = {"full": 0, "auto": 0, "dots": wide + 2 * c.hidden_size, "none": 3 * wide + 4 * c.hidden_size}
    saved = c.num_hidden_layers * tokens * width * (c.hidden_size + kept[config.grpo.remat])
    work = tokens * width * (_NARROW_BACK * c.hidden_size + _WIDE_BACK * c.intermediate_size // cut)
    if config.grpo.remat in ("none", "dots"):
        saved += c.num_hidden_layers * pairs
    chunk = 4 * rows * config.grpo.row_sizes[-1] * min(slots, 128) * c.vocab_size // cut * _LOGITS_BACK
    return saved + max(work + _LOGITS_BACK * pairs, chunk)


def _listed(parts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {gb(size)}" for name, size in parts.items())


def gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e7 else f"{size / 1e6:.2f} MB"
