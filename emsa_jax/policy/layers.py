"""The small pieces that towers and decoder share."""
from __future__ import annotations

import jax
import jax.numpy as jnp

from emsa_jax.policy.lora import Adapter

MASKED = -1e30  # finite: a query that may attend to nothing (padding) gets the mean of all values, never nan


def linear(x: jax.Array, p: dict, lora: dict | None = None, scale: float = 0.0) -> jax.Array:
    """x [..., in] -> [..., out]: W x + b, and where `lora` = {"a": [r, in], "b": [out, r]} is given + B scale A x."""
    lead, x = x.shape[:-1], x.reshape(-1, x.shape[-1])  # over one axis, gradients of `lora` cost half as much on CPUs
    y = jnp.einsum("ti,oi->to", x, p["weight"])
    if "bias" in p:
        y = y + p["bias"]
    if lora is not None:
        low = scale * jnp.einsum("ti,ri->tr", x, lora["a"].astype(x.dtype))
        y = y + jnp.einsum("tr,or->to", low, lora["b"].astype(x.dtype))
    return y.reshape(*lead, -1)


def rms_norm(x: jax.Array, p: dict, eps: float) -> jax.Array:
    """RMSNorm over the last axis: float32 inside, cast back, and only then times the weight."""
    x32 = x.astype(jnp.float32)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return p["weight"] * x32.astype(x.dtype)


def layer_norm(x: jax.Array, p: dict, eps: float = 1e-5) -> jax.Array:
    """LayerNorm over the last axis, float32 inside."""
    x32 = x.astype(jnp.float32)
    x32 = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (x32 * p["weight"] + p["bias"]).astype(x.dtype)


def rotate(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    """Rotary embedding: x [..., heads, d], cos and sin [..., 1, d] with both halves alike."""
    half = x.shape[-1] // 2
    return x * cos + jnp.concatenate([-x[..., half:], x[..., :half]], axis=-1) * sin


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    """Plain attention, float32 softmax.

    q [B, S, H, d], k and v [B, T, K, d] with H a multiple of K (grouped queries), mask [B, S, T] bool
    (True: may attend). Returns [B, S, H, d].
    """
    return combine([attention_part(q, k, v, mask)]).astype(q.dtype)


def attention_part(q, k, v, mask) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One part of a softmax over several key sets.

    Shapes as in `attention`. Returns (weighted values [B, S, H, d], their weight [B, S, H, 1], the largest
    logit [B, S, H, 1]), float32; `combine` joins the parts under one softmax.
    """
    b, s, h, d = q.shape
    t, heads = k.shape[1], k.shape[2]
    # batch axes lead in both products: XLA's CPU backend runs other layouts several times slower
    grouped = q.reshape(b, s, heads, h // heads, d).transpose(0, 2, 3, 1, 4).reshape(b, heads, -1, d)
    k, v = k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)
    logits = jnp.einsum("bkqd,bktd->bkqt", grouped, k, preferred_element_type=jnp.float32) * d**-0.5
    logits = logits.reshape(b, heads, h // heads, s, t) + jnp.where(mask, 0.0, MASKED)[:, None, None]
    top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    weights = jnp.exp(logits - top)
    values = jnp.einsum("bkqt,bktd->bkqd", weights.reshape(b, heads, -1, t).astype(v.dtype), v,
                        preferred_element_type=jnp.float32)

    def back(part):  # [b, heads, h / heads, s, n] -> [b, s, h, n]
        return part.transpose(0, 3, 1, 2, 4).reshape(b, s, h, -1)

    return back(values.reshape(b, heads, h // heads, s, d)), back(weights.sum(-1, keepdims=True)), back(top)


def combine(parts) -> jax.Array:
    """Joins attention parts under one softmax: exact, since each part carries its weight and largest logit."""
    top = parts[0][2]
    for _, _, other in parts[1:]:
        top = jnp.maximum(top, other)
    scales = [jnp.exp(t - top) for _, _, t in parts]
    values = sum(v * s for (v, _, _), s in zip(parts, scales, strict=True))
    weight = sum(w * s for (_, w, _), s in zip(parts, scales, strict=True))
    return values / weight


def stack_of(adapter: Adapter | None, tower: str) -> dict:
    """The adapter's stacked weights of one tower's layers ({} when it has none), ready to be scanned."""
    return {} if adapter is None else adapter.weights.get(tower, {})
