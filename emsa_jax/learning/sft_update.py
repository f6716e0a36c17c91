"""The cold start: next-token cross-entropy on the answer's tokens, given clip and prompt (method of both papers)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emsa_jax.learning.guard import guarded_update
from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.learning.masked import masked_sum
from emsa_jax.learning.state import TrainState
from emsa_jax.policy.inputs import PromptInputs
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.thinker_config import ThinkerConfig


@struct.dataclass
class SftBatch:
    """Micro-batches on the first axis: inputs (each field [M, ...]), tokens [M, N, C] int32, mask [M, N, C] bool."""

    inputs: PromptInputs
    tokens: jax.Array
    mask: jax.Array


def split_trained(trained: Any, base: dict) -> tuple[dict, Adapter | None]:
    """(params, adapter) of a policy whose trained part is an adapter over `base`, or all of its parameters."""
    return (base, trained) if isinstance(trained, Adapter) else (trained, None)


def sft_update(
    state: TrainState,
    base: dict,
    batch: SftBatch,
    *,
    config: ThinkerConfig,
    optimizer: optax.GradientTransformation,
    remat: str = "none",
) -> tuple[TrainState, dict]:
    """One update. The loss is the mean over all answer tokens of the batch, however it is cut into micro-batches.

    Args:
      state: its params are an `Adapter`, or the whole policy.
      base: the frozen parameters ({} when everything is trained).

    Returns:
      (state, {"loss", "num_tokens", "token_probability" (mean p of the right token), and what `guarded_update` adds}).
    """
    total = batch.mask.sum()

    def loss_fn(
        trained: dict | Adapter, inputs: PromptInputs, tokens: jax.Array, mask: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        params, adapter = split_trained(trained, base)
        prompts = encode_prompts(params, adapter, config, inputs)
        logps, _ = group_logprobs(params, adapter, config, prompts, tokens[:, None], remat=remat)
        loss = -masked_sum(logps[:, 0], mask) / total
        return loss, masked_sum(jnp.exp(logps[:, 0]), mask) / total

    def micro(carry: tuple, piece: tuple) -> tuple[tuple, None]:
        (loss, sure), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params, *piece)
        return jax.tree.map(jnp.add, carry, (grads, loss, sure)), None

    zero = (jax.tree.map(jnp.zeros_like, state.params), jnp.zeros(()), jnp.zeros(()))
    (grads, loss, sure), _ = jax.lax.scan(micro, zero, (batch.inputs, batch.tokens, batch.mask))
    state, seen = guarded_update(state, grads, optimizer, loss)
    return state, {"loss": loss, "num_tokens": total, "token_probability": sure, **seen}
