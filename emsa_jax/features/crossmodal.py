"""The transformer of MulT, which DLF uses as well: a modality attends to itself or to another one.

Source: Tsai et al. 2019, "Multimodal Transformer for Unaligned Multimodal Language Sequences", section 3, as its public
code computes it: the source is never updated and goes through the same layer norm as the query, and a step i of the
query sees a step j of the source where j <= i + |T_query - T_source|, padded steps included.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from emsa_jax.features.layers import LayerNorm, Linear, dropout, xavier_uniform


@dataclass(frozen=True)
class Rates:
    """Dropout rates of an encoder."""

    attention: float = 0.0
    embed: float = 0.0
    relu: float = 0.0
    residual: float = 0.0


class CrossEncoder(nn.Module):
    """`layers` pre-norm layers of attention and feed-forward, and a final norm.

    Attributes:
      heads: attention heads; they divide the width.
      positions: whether sinusoids are added (DLF); MMSA's copy of MulT has none.
      last: give the last step alone, [B, d]. The last layer is then computed for that step only.
    """

    layers: int
    heads: int
    rates: Rates
    positions: bool = False
    last: bool = False

    @nn.compact
    def __call__(self, query: jax.Array, source: jax.Array | None, train: bool) -> jax.Array:
        """query [B, Tq, d], source [B, Tk, d] or None for self-attention -> [B, Tq, d], or [B, d] (see `last`)."""
        x = self._embed(query, train)
        y = None if source is None else self._embed(source, train)
        for i in range(self.layers):
            last = self.last and i == self.layers - 1
            x = CrossLayer(self.heads, self.rates, last, name=f"layers.{i}")(x, y, train)
        x = LayerNorm(name="layer_norm")(x)
        return x[:, -1] if self.last else x

    def _embed(self, x: jax.Array, train: bool) -> jax.Array:
        scaled = math.sqrt(x.shape[-1]) * x
        return dropout(self, scaled + sinusoids(x) if self.positions else scaled, self.rates.embed, train)


class CrossLayer(nn.Module):
    """One layer; `last`: for the last step of the query alone."""

    heads: int
    rates: Rates
    last: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, source: jax.Array | None, train: bool) -> jax.Array:
        norm = LayerNorm(name="layer_norms.0")
        keys = norm(x if source is None else source)
        steps = x.shape[1]
        x = x[:, -1:] if self.last else x
        queries = norm(x) if source is not None else keys[:, -1:] if self.last else keys
        offset = abs(steps - keys.shape[1]) + steps - x.shape[1]
        attended = SelfAttention(self.heads, self.rates.attention, name="self_attn")(queries, keys, offset, train)
        x = x + dropout(self, attended, self.rates.residual, train)
        normed = LayerNorm(name="layer_norms.1")(x)
        inner = jax.nn.relu(Linear(4 * x.shape[-1], initial=xavier_uniform, name="fc1")(normed))
        outer = Linear(x.shape[-1], initial=xavier_uniform, name="fc2")(dropout(self, inner, self.rates.relu, train))
        return x + dropout(self, outer, self.rates.residual, train)


class SelfAttention(nn.Module):
    """Attention with one weight in_proj_weight [3 d, d] for queries, keys and values, as PyTorch has it."""

    heads: int
    rate: float

    @nn.compact
    def __call__(self, query: jax.Array, key: jax.Array, offset: int | None, train: bool) -> jax.Array:
        """query [B, Tq, d], key [B, Tk, d] -> [B, Tq, d]; step i sees j <= i + offset, all of them where it is None."""
        width = query.shape[-1]
        weight = self.param("in_proj_weight", xavier_uniform, (3 * width, width))
        bias = self.param("in_proj_bias", nn.initializers.zeros, (3 * width,))
        split = lambda x: x.reshape(*x.shape[:2], self.heads, -1)  # noqa: E731
        scale = (width // self.heads) ** -0.5
        q = split((query @ weight[:width].T + bias[:width]) * scale)
        k, v = (split(part) for part in jnp.split(key @ weight[width:].T + bias[width:], 2, axis=-1))
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k)
        if offset is not None:
            seen = jnp.arange(k.shape[1]) <= jnp.arange(q.shape[1])[:, None] + offset
            scores = jnp.where(seen, scores, -jnp.inf)
        weights = dropout(self, jax.nn.softmax(scores, axis=-1), self.rate, train)
        attended = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(query.shape)
        return Linear(width, initial=xavier_uniform, name="out_proj")(attended)


def sinusoids(x: jax.Array) -> jax.Array:
    """Positions of x [B, T, d], as [B, T, d]: [sin, cos] of t + 1 times d // 2 rates from 1 down to 1/10000.

    A step whose first channel is exactly 0 is taken for padding and gets zeros, as the public code has it.
    """
    half = x.shape[-1] // 2
    rates = jnp.exp(jnp.arange(half, dtype=x.dtype) * (-math.log(10000) / (half - 1)))
    angles = (1 + jnp.arange(x.shape[1], dtype=x.dtype))[:, None] * rates
    table = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
    table = jnp.pad(table, ((0, 0), (0, x.shape[-1] % 2)))
    return jnp.where((x[..., :1] != 0), table, 0)
