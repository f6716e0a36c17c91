"""The small pieces that towers and decoder share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from emsa_jax.policy.lora import Adapter

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Shaped

PRODUCT = "product"  # what `linear` computes, by which a backward pass may keep it


def linear(
    x: Float[Array, "*lead i"], p: dict, lora: dict | None = None, scale: float = 0.0
) -> Float[Array, "*lead o"]:
    """x [..., in] -> [..., out]: W x + b, and where `lora` = {"a": [r, in], "b": [out, r]} is given + B scale A x."""
    lead, x = x.shape[:-1], x.reshape(-1, x.shape[-1])  # over one axis, gradients of `lora` cost half as much on CPUs
    y = jnp.einsum("ti,oi->to", x, p["weight"])
    if "bias" in p:
        y = y + p["bias"]
    if lora is not None:
        low = checkpoint_name(scale * jnp.einsum("ti,ri->tr", x, lora["a"].astype(x.dtype)), PRODUCT)
        y = y + jnp.einsum("tr,or->to", low, lora["b"].astype(x.dtype))
    return checkpoint_name(y, PRODUCT).reshape(*lead, -1)


def rms_norm(x: Float[Array, "*lead d"], p: dict, eps: float) -> Float[Array, "*lead d"]:
    """RMSNorm over the last axis: float32 inside, cast back, and only then times the weight."""
    x32 = x.astype(jnp.float32)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return p["weight"] * x32.astype(x.dtype)


def layer_norm(x: Float[Array, "*lead d"], p: dict, eps: float = 1e-5) -> Float[Array, "*lead d"]:
    """LayerNorm over the last axis, at least float32 inside."""
    x32 = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    x32 = x32 - jnp.mean(x32, axis=-1, keepdims=True)
    x32 = x32 * jax.lax.rsqrt(jnp.mean(x32 * x32, axis=-1, keepdims=True) + eps)
    return (x32 * p["weight"] + p["bias"]).astype(x.dtype)


def rotate(
    x: Float[Array, "*lead h d"], cos: Float[Array, "*lead 1 d"], sin: Float[Array, "*lead 1 d"]
) -> Float[Array, "*lead h d"]:
    """Rotary embedding: x [..., heads, d], cos and sin [..., 1, d] with both halves alike."""
    half = x.shape[-1] // 2
    return x * cos + jnp.concatenate([-x[..., half:], x[..., :half]], axis=-1) * sin


def take_in_shards(table: Shaped[Array, "shards t d"], index: Int[Array, "shards a"]) -> Shaped[Array, "shards a d"]:
    """Rows of tables: table [shards, T, D], index [shards, A] -> [shards, A, D]; no shard looks into another."""
    return table[0][index[0]][None] if table.shape[0] == 1 else jax.vmap(lambda t, i: t[i])(table, index)


def stack_of(adapter: Adapter | None, tower: str) -> dict:
    """The adapter's stacked weights of one tower's layers ({} when it has none), ready to be scanned."""
    return _of_rank(adapter, tower, 3)


def singles_of(adapter: Adapter | None, tower: str) -> dict:
    """The adapter's weights of the linears of a tower that lie in no layer, such as projectors."""
    return _of_rank(adapter, tower, 2)


def _of_rank(adapter: Adapter | None, tower: str, ndim: int) -> dict:
    linears = {} if adapter is None else adapter.weights.get(tower, {})
    return {name: ab for name, ab in linears.items() if ab["a"].ndim == ndim}
