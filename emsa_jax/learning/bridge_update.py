"""One update of a bridge with its heads: stage 1 (VECB) and stage 2 (AECB) of XEmoGPT (section III-B and III-C).

loss = InfoNCE(clips, captions) + w1 order + w2 masked frames; the last two for VECB alone. Negatives of a clip are all
other captions of the batch, on whatever device they lie, so the batch is what counts and not how it is cut. Gradients
are cached (Gao et al. 2021): vectors are made micro-batch by micro-batch, the contrastive loss is taken over all of
them, and each micro-batch is run again with the gradient of its vectors, so that memory does not grow with the batch.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from emsa_jax.learning.contrastive import cosines, info_nce, masked_frame_loss, order_loss, retrieval
from emsa_jax.learning.guard import guarded_update
from emsa_jax.learning.state import TrainState
from emsa_jax.policy.bridges import caption_vectors, clip_vectors, encode_bridge, order_logits
from emsa_jax.policy.layers import linear
from emsa_jax.policy.thinker_config import BridgeConfig

COLDEST = 0.01  # of the learned temperature, as CLIP clips it


@struct.dataclass
class BridgeBatch:
    """B pairs of clips and captions, B a multiple of the micro-batches.

    Attributes:
      states: [B, T, hidden_size] of a frozen encoder.
      valid: [B, T] bool.
      captions: [B, text_size] of a frozen text encoder.
      order: [B, T] int32, a shuffled order of the frames; only VECB's are used.
      masked: [B, T] bool, frames that are hidden; only VECB's are used.
    """

    states: jax.Array
    valid: jax.Array
    captions: jax.Array
    order: jax.Array
    masked: jax.Array


@dataclass(frozen=True)
class BridgeLoss:
    """How the parts of the loss add up.

    Attributes:
      order_weight, mask_weight: w1 and w2 of the paper, which does not print them.
      mask_token: whether hidden frames become a learned token (the paper), or 0 (the public code).
      both_ways: whether captions look for their clips too.
    """

    order_weight: float = 1.0
    mask_weight: float = 1.0
    mask_token: bool = True
    both_ways: bool = False


def bridge_update(
    state: TrainState,
    batch: BridgeBatch,
    *,
    config: BridgeConfig,
    loss: BridgeLoss,
    optimizer: optax.GradientTransformation,
    micro_batches: int = 1,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """(the state after one update, {"loss", its parts, "temperature", "retrieval/at_1", "retrieval/at_5"} and what
    `guarded_update` adds)."""
    grads, logged = bridge_gradients(state.params, batch, config=config, loss=loss, micro_batches=micro_batches)
    state, seen = guarded_update(state, grads, optimizer, logged["loss"])
    heads = state.params["heads"]
    heads = heads | {"temperature": jnp.maximum(heads["temperature"], COLDEST)}
    return state.replace(params=state.params | {"heads": heads}), logged | seen


def bridge_gradients(
    params: Any, batch: BridgeBatch, *, config: BridgeConfig, loss: BridgeLoss, micro_batches: int = 1
) -> tuple[Any, dict[str, jax.Array]]:
    """Gradients of the loss over the whole batch, as without micro-batches, and what is logged of it.

    params: {"bridge": of `bridge_table`, "heads": of `heads_table`}.
    """
    # every piece has rows of all devices, each of which holds neighbouring ones
    pieces = jax.tree.map(lambda x: x.reshape(-1, micro_batches, *x.shape[1:]).swapaxes(0, 1), batch)
    size = len(batch.states)

    def vectors(params: Any, piece: BridgeBatch) -> tuple[jax.Array, jax.Array]:
        states = encode_bridge(params["bridge"], config, piece.states, piece.valid)
        clips = clip_vectors(params["heads"], config, states, piece.valid)
        return clips, caption_vectors(params["heads"], piece.captions)

    def whole(both: tuple[jax.Array, jax.Array], temperature: jax.Array) -> jax.Array:
        clips, captions = (x.reshape(size, -1) for x in both)
        value = info_nce(clips, captions, temperature)
        return (value + info_nce(captions, clips, temperature)) / 2 if loss.both_ways else value

    both = jax.lax.map(functools.partial(vectors, params), pieces)
    temperature = params["heads"]["temperature"]
    value, (pulls, warmer) = jax.value_and_grad(whole, argnums=(0, 1))(both, temperature)

    def again(carry: Any, piece: tuple) -> tuple[Any, dict]:
        batch, pull = piece

        def pulled(params: Any) -> tuple[jax.Array, dict]:
            found = vectors(params, batch)
            total = sum((x * p).sum() for x, p in zip(found, pull, strict=True))
            parts = _tasks(params, config, loss, batch, found[0], len(batch.states) / size) if config.sees else {}
            return total + sum(weight * part for weight, part in parts.values()), {n: p for n, (_, p) in parts.items()}

        (_, parts), grads = jax.value_and_grad(pulled, has_aux=True)(params)
        return jax.tree.map(jnp.add, carry, grads), parts

    grads, parts = jax.lax.scan(again, jax.tree.map(jnp.zeros_like, params), (pieces, pulls))
    grads["heads"]["temperature"] += warmer
    parts = {name: part.sum() for name, part in parts.items()}
    weights = {"order": loss.order_weight, "masked_frames": loss.mask_weight}
    logged = {"info_nce": value, "temperature": temperature, "loss": value} | parts
    logged["loss"] += sum(weights[name] * part for name, part in parts.items())
    ranks = retrieval(cosines(*(x.reshape(size, -1) for x in both)))
    return grads, logged | dict(zip(("retrieval/at_1", "retrieval/at_5"), ranks, strict=True))


def _tasks(
    params: Any, config: BridgeConfig, loss: BridgeLoss, batch: BridgeBatch, clips: jax.Array, share: float
) -> dict[str, tuple[float, jax.Array]]:
    """name -> (weight, this piece's part of the mean over the batch) of the tasks that VECB alone has. Frames are
    shuffled before their positions are added: shuffled afterwards, layers and pooling could not tell them apart."""
    heads, bridge = params["heads"], params["bridge"]
    shuffled = jnp.take_along_axis(batch.states, batch.order[..., None], axis=1)
    valid = jnp.take_along_axis(batch.valid, batch.order, axis=1)
    other = clip_vectors(heads, config, encode_bridge(bridge, config, shuffled, valid), valid)
    in_order = order_loss(order_logits(heads, clips), order_logits(heads, other))
    hidden = heads["mask_token"] if loss.mask_token else 0.0
    seen = jnp.where(batch.masked[..., None], hidden, batch.states)
    found = linear(encode_bridge(bridge, config, seen, batch.valid), heads["frame_reconstructor"])
    rebuilt = masked_frame_loss(found, batch.states, batch.masked & batch.valid)
    return {"order": (loss.order_weight, share * in_order), "masked_frames": (loss.mask_weight, share * rebuilt)}
