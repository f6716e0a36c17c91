"""One token from logits: what may be drawn, and the draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from emsa_jax.rollout.rollout_options import SamplingOptions

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

_BLOCK = 64  # tokens whose probabilities are summed first: two short searches in place of one over the vocabulary


def draw(
    options: SamplingOptions,
    logits: Float[Array, "*rows v"],
    uniform: Float[Array, " *rows"],
    slot: int | Int[Array, ""],
    stop_ids: tuple[int, ...],
) -> Int[Array, " *rows"]:
    """One token for each row: logits [..., V] float32, uniform [...] in [0, 1) -> [...] int32.

    The token at which the distribution function passes `uniform`: one random number a row, whatever V is. `slot`
    (scalar) is the answer slot it is for, which decides whether one of the end tokens `stop_ids` may be drawn.
    """
    logits = _allowed(options, logits, slot, stop_ids)
    if options.greedy:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    return pick(truncate(logits / options.temperature, options), uniform)


def pick(logits: jax.Array, uniform: jax.Array) -> jax.Array:
    """The token [...] int32 at which the distribution function of logits [..., V] passes uniform [...] in [0, 1)."""
    weights = jnp.exp(logits - logits.max(-1, keepdims=True))
    spare = -weights.shape[-1] % _BLOCK
    weights = jnp.pad(weights, [(0, 0)] * (weights.ndim - 1) + [(0, spare)])
    weights = weights.reshape(*weights.shape[:-1], -1, _BLOCK)
    blocks = jnp.cumsum(weights.sum(-1), axis=-1)
    block, rest = _search(blocks, uniform * blocks[..., -1])
    inside = jnp.take_along_axis(weights, block[..., None, None], axis=-2)[..., 0, :]
    token, _ = _search(jnp.cumsum(inside, axis=-1), rest)
    return block * _BLOCK + token


def _search(
    totals: Float[Array, "*rows n"], target: Float[Array, " *rows"]
) -> tuple[Int[Array, " *rows"], Float[Array, " *rows"]]:
    """The first place where rising totals [..., n] exceed target [...], and what of the target is left before it.

    Rounding must not lead beyond the last total, where nothing has any weight: the target is kept below it."""
    target = jnp.minimum(target, jnp.nextafter(totals[..., -1], jnp.float32(0)))
    place = (totals <= target[..., None]).sum(-1).astype(jnp.int32)
    before = jnp.take_along_axis(totals, jnp.maximum(place - 1, 0)[..., None], axis=-1)[..., 0]
    return place, target - jnp.where(place > 0, before, 0.0)


def _allowed(options: SamplingOptions, logits: jax.Array, t: jax.Array, stop_ids: tuple[int, ...]) -> jax.Array:
    """Logits [..., V] with -inf for tokens that may not be drawn in slot t."""
    ids = jnp.arange(logits.shape[-1])
    if options.suppress_tokens:
        logits = jnp.where(jnp.isin(ids, jnp.array(options.suppress_tokens)), -jnp.inf, logits)
    if options.min_new_tokens:
        logits = jnp.where(jnp.isin(ids, jnp.array(stop_ids)) & (t < options.min_new_tokens), -jnp.inf, logits)
    return logits


def truncate(logits: Float[Array, "*rows v"], options: SamplingOptions) -> Float[Array, "*rows v"]:
    """Sets what top-k, top-p or min-p rule out to -inf; the likeliest token always stays. logits: [..., V]."""
    if options.top_k:
        kth = jax.lax.top_k(logits, min(options.top_k, logits.shape[-1]))[0][..., -1:]
        logits = jnp.where(logits < kth, -jnp.inf, logits)
    if options.top_p < 1:
        logits = nucleus(logits, options.top_p)
    if options.min_p:
        best = jnp.max(logits, axis=-1, keepdims=True)
        logits = jnp.where(logits < best + jnp.log(options.min_p), -jnp.inf, logits)
    return logits


def nucleus(logits: jax.Array, top_p: float | jax.Array) -> jax.Array:
    """Logits [..., V] with -inf for all but the likeliest tokens that make up the probability `top_p`, a number or
    [..., 1]; the likeliest always stays."""
    ordered = -jnp.sort(-logits, axis=-1)
    probs = jax.nn.softmax(ordered, axis=-1)
    kept = jnp.cumsum(probs, axis=-1) - probs < top_p  # the mass before it is still short of top_p
    least = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < least, -jnp.inf, logits)
