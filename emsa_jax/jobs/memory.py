"""What a step will need of a device's memory, said before anything is loaded."""
from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from emsa_jax.errors import InputError
from emsa_jax.jobs.console import say
from emsa_jax.jobs.hardware import device_bytes
from emsa_jax.jobs.options import Config
from emsa_jax.jobs.placement import Placement, split_bytes
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.table import abstract_params

CHUNK = 128  # positions whose logits exist at a time (learning/logprobs.py)


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of one device. All but `activations` are exact: that is an estimate of what an update with remat=full, or
    the draw of a token, holds beside the rest."""

    base: int
    trained: int
    cache: int
    activations: int

    @property
    def total(self) -> int:
        return self.base + self.trained + self.cache + self.activations


def plan_memory(config: Config, placement: Placement, adapter: Adapter, prompt: int, slots: int) -> MemoryPlan:
    """Of a GRPO step.

    Args:
      adapter: of arrays or ShapeDtypeStructs.
      prompt: tokens of the longest prompt bucket; slots: of an answer.
    """
    text, options, mesh = placement.update.config.text, config.grpo, placement.update.mesh
    dtype = jnp.dtype(config.dtype)
    params = abstract_params(placement.update.config, dtype)
    base = split_bytes(params, placement.update.params())
    base += split_bytes(params, placement.decode.params()) if placement.apart else 0
    small = split_bytes(adapter, placement.update.adapter(adapter))
    rows = options.prompts_per_step // placement.share.shards
    tokens = rows * (prompt + options.group_size * slots)
    heads = placement.decode.cache().shard_shape((1, placement.share.shards, text.num_key_value_heads, 1, 1))[2]
    cache = 2 * text.num_hidden_layers * heads * text.head_dim * tokens * dtype.itemsize
    cut, tokens = mesh.shape["tensor"], tokens // options.micro_batches
    kept = text.num_hidden_layers * tokens * text.hidden_size
    layer = tokens * (4 * text.intermediate_size // cut + 8 * text.hidden_size)
    logits = 3 * rows * options.group_size * min(CHUNK, slots) * text.vocab_size // cut
    drawn = 3 * rows * options.group_size * text.vocab_size // cut
    update = (kept + layer) * dtype.itemsize + 4 * logits // options.micro_batches
    # parameters, gradients and two moments; the reference's adapter
    return MemoryPlan(base, 4 * small + (small if config.loss.beta > 0 else 0), cache, max(update, 4 * drawn))


def tell_memory(plan: MemoryPlan) -> None:
    """Says what is needed and what there is. Raises InputError, naming the field to change, if it cannot fit."""
    there, kind = device_bytes(), jax.devices()[0].device_kind
    parts = {"base": plan.base, "adapter and optimizer": plan.trained, "cache": plan.cache,
             "activations about": plan.activations}
    needs = ", ".join(f"{name} {_size(size)}" for name, size in parts.items())
    say(f"memory of each device: {needs}; together about {_size(plan.total)} of {_size(there)} ({kind})")
    exact = plan.total - plan.activations
    if plan.total <= there:
        return
    largest = max(parts, key=parts.get)
    field = {"base": "raise mesh.tensor or mesh.fsdp, or set dtype=bfloat16",
             "adapter and optimizer": "lower lora.rank", "activations about": "raise grpo.micro_batches",
             "cache": "lower grpo.prompts_per_step or grpo.group_size"}[largest]
    if exact > there:
        raise InputError(f"this does not fit: {_size(exact)} without activations, and a device has {_size(there)}; "
                         f"{field}")
    say(f"warning: this may not fit; {field}")


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
