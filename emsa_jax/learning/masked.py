"""Sums and means over the valid entries of an array. Masked-out entries may hold anything, NaN too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Shaped

Axis = int | tuple[int, ...] | None


def masked_sum(values: Shaped[Array, " *rows"], mask: Shaped[Array, "#*rows"], axis: Axis = None) -> jax.Array:
    """Sum of `values` where `mask` (broadcastable, non-zero = valid); 0 where nothing is valid."""
    return jnp.where(mask.astype(bool), values, 0).sum(axis)


def masked_count(mask: jax.Array, axis: Axis = None) -> jax.Array:
    """Number of valid entries, int32, at least 1 so that it may divide."""
    return jnp.maximum(mask.astype(bool).sum(axis, dtype=jnp.int32), 1)


def masked_mean(values: Shaped[Array, " *rows"], mask: Shaped[Array, " *rows"], axis: Axis = None) -> jax.Array:
    """Mean of `values` where `mask` (same shape); 0 where nothing is valid."""
    return masked_sum(values, mask, axis) / masked_count(mask, axis)
