"""Layers under the names and in the layouts of PyTorch, so that a tree of parameters is a state dict.

A linear map holds "weight" [out, in] and "bias" [out]; initial values are PyTorch's own. Loading and export rename
nothing and transpose nothing; see `state_dict.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

Init = Callable[..., jax.Array]


def fan_in_uniform(fan_in: int) -> Init:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)): what PyTorch's linear maps, convolutions and LSTMs begin with."""
    bound = 1 / math.sqrt(fan_in)
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


xavier_uniform = nn.initializers.xavier_uniform(in_axis=-1, out_axis=-2)  # of a weight [out, in]
bert_normal = nn.initializers.normal(0.02)


class Linear(nn.Module):
    """x [..., in] -> [..., size]. `initial`: of the weight, with a bias of zeros; None: PyTorch's own of both."""

    size: int
    bias: bool = True
    initial: Init | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        own = fan_in_uniform(x.shape[-1])
        x = x @ self.param("weight", self.initial or own, (self.size, x.shape[-1])).T
        return x + self.param("bias", nn.initializers.zeros if self.initial else own, (self.size,)) if self.bias else x


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis, with the biased variance."""

    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weight = self.param("weight", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        centred = x - x.mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + self.epsilon) * weight + bias


class TimeConv(nn.Module):
    """A convolution over time without bias and padding: x [B, T, D] -> [B, T - kernel + 1, size].

    The weight is [size, D, kernel]. Computed as one product of the windows with the weight, which on CPUs is several
    times as fast as XLA's convolution and its gradients.
    """

    size: int
    kernel: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        weight = self.param("weight", fan_in_uniform(channels * self.kernel), (self.size, channels, self.kernel))
        steps = x.shape[1] - self.kernel + 1
        windows = jnp.concatenate([x[:, k : k + steps] for k in range(self.kernel)], axis=-1)
        return windows @ weight.transpose(2, 1, 0).reshape(-1, self.size)


def residual_head(module: nn.Module, x: jax.Array, names: tuple[str, str], rate: float, train: bool) -> jax.Array:
    """x + W2 dropout(relu(W1 x)): x [B, D] -> [B, D], with linear maps of `module` under two names. To be called while
    `module` is being computed."""
    first, second = (Linear(x.shape[-1], name=name) for name in names)
    return x + second(dropout(module, jax.nn.relu(first(x)), rate, train))


def dropout(module: nn.Module, x: jax.Array, rate: float, train: bool) -> jax.Array:
    """Sets a share `rate` of the numbers to 0 and scales the others up, by the stream "dropout" of `module`.

    Each number costs 16 random bits, so that a rate is met to 1e-5; half of what JAX's own dropout draws.
    """
    if not train or rate == 0:
        return x
    words = jax.random.bits(module.make_rng("dropout"), ((x.size + 1) // 2,), jnp.uint32)
    draws = jax.lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[: x.size].reshape(x.shape)
    return jnp.where(draws >= round(rate * 65536), x / (1 - rate), 0)
