"""The transformer layers that encoders are stacks of: attention over all valid positions, then two linears with an
activation between them.

The norms stand before both halves of a layer (CLIP, HuBERT's large sizes) or after the sums behind them (BERT, HuBERT's
base size, the audio bridge); all else is alike.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from emsa_jax.policy.attention import MASKED, attention
from emsa_jax.policy.layers import layer_norm, linear

gelu = functools.partial(jax.nn.gelu, approximate=False)


def quick_gelu(x: jax.Array) -> jax.Array:
    """CLIP's approximation of GELU: x sigmoid(1.702 x)."""
    return x * jax.nn.sigmoid(1.702 * x)


@dataclass(frozen=True)
class LayerKind:
    """What the layers of an encoder have in common, beside their parameters.

    norm_first: whether norms stand before attention and linears, or after the sums behind them.
    """

    heads: int
    eps: float
    norm_first: bool
    activation: Callable[[jax.Array], jax.Array] = gelu


@dataclass(frozen=True)
class Dropout:
    """Where training drops values: behind both halves of a layer, and among the weights of attention."""

    key: jax.Array
    hidden: float = 0.0
    attention: float = 0.0


def encoder_layers(
    params: dict,
    kind: LayerKind,
    x: jax.Array,
    mask: jax.Array,
    lora: dict | None = None,
    scale: float = 0.0,
    dropout: Dropout | None = None,
) -> jax.Array:
    """States after the last layer, without any norm behind it.

    Args:
      params: stacked layers under the names of `parameter_table.layers_table`.
      x: [B, S, width] float.
      mask: [B or 1, S, S] bool, who may attend to whom.
      lora: stacked adapter of the layers' linears (`layers.stack_of`); scale: its factor.
      dropout: None where nothing is dropped, as in every use but training.

    Returns:
      [B, S, width].
    """
    lora, layers = lora or {}, len(params["norm1"]["weight"])
    keys = jax.random.split(dropout.key, (layers, 3)) if dropout else None

    def layer(x: jax.Array, stacked: tuple) -> tuple[jax.Array, None]:
        p, ab, key = stacked

        def drop(x: jax.Array, use: int) -> jax.Array:
            return x if key is None else dropped(x, key[use], dropout.hidden)

        norm1, norm2 = (functools.partial(layer_norm, p=p[name], eps=kind.eps) for name in ("norm1", "norm2"))
        h = norm1(x) if kind.norm_first else x
        q, k, v = (
            linear(h, p[n], ab.get(n), scale).reshape(*h.shape[:2], kind.heads, -1)
            for n in ("q_proj", "k_proj", "v_proj")
        )
        mixed = attention(q, k, v, mask) if key is None else _dropped_attention(q, k, v, mask, key[0], dropout)
        x = x + drop(linear(mixed.reshape(h.shape), p["out_proj"], ab.get("out_proj"), scale), 1)
        x = x if kind.norm_first else norm1(x)
        h = kind.activation(linear(norm2(x) if kind.norm_first else x, p["fc1"], ab.get("fc1"), scale))
        x = x + drop(linear(h, p["fc2"], ab.get("fc2"), scale), 2)
        return x if kind.norm_first else norm2(x), None

    return jax.lax.scan(layer, x, (params, lora, keys))[0]


def dropped(x: jax.Array, key: jax.Array, rate: float) -> jax.Array:
    """x with values set to 0 at the rate, and the others scaled so that the mean stays."""
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0) if rate else x


def _dropped_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array, key: jax.Array, dropout: Dropout
) -> jax.Array:
    """`attention` with weights dropped after the softmax, which the kernels do not do."""
    wide = jnp.promote_types(q.dtype, jnp.float32)
    logits = jnp.einsum("bshd,bthd->bhst", q, k, preferred_element_type=wide) * q.shape[-1] ** -0.5
    weights = dropped(jax.nn.softmax(jnp.where(mask[:, None], logits, MASKED)), key, dropout.attention)
    return jnp.einsum("bhst,bthd->bshd", weights.astype(v.dtype), v)
