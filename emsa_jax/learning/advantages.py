"""Group-relative advantages: how much better an answer is than the other answers to the same prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from emsa_jax.learning.learning_options import AdvOptions

if TYPE_CHECKING:
    from jaxtyping import Array, Float

DDOF = 1  # degrees of freedom removed from the variance, as TRL, ms-swift and Hint-GRPO do
EPS = 1e-4  # added to the standard deviation, as they do


class Advantages(NamedTuple):
    """values [N, G]; zero_std [N] bool: groups in which every advantage is 0; std [N]: of the rewards in
    each group."""

    values: Array
    zero_std: Array
    std: Array


def advantages(rewards: Float[Array, "n g"], options: AdvOptions) -> Advantages:
    """(r - mean of the group) / (std + eps), as in GRPO (DeepSeekMath, section 4.1.2).

    rewards: float [N, G], NaN where no reward applies; such an answer gets advantage 0 and is left out of
    all statistics. NumPy in, NumPy out; JAX in, JAX out (jit-able).
    """
    xp = rewards.__array_namespace__()
    valid = ~xp.isnan(rewards)
    known = xp.where(valid, rewards, 0.0)
    centred = xp.where(valid, known - _mean(xp, known, valid, axis=1), 0.0)
    std = _std(xp, known, valid, 1, DDOF)[:, 0]
    # Equal rewards are compared as such: their mean may be off by a rounding, and that must not become an
    # advantage.
    spread = xp.where(valid, rewards, -xp.inf).max(1) > xp.where(valid, rewards, xp.inf).min(1)
    zero_std = ~spread | (std < options.min_std)
    if options.scale == "none":
        scale = xp.ones_like(std)
    elif options.scale == "batch":
        scale = xp.ones_like(std) * (_std(xp, known, valid, None, DDOF) + EPS)
    else:
        scale = std + EPS
    scale = xp.where(scale > 0, scale, 1.0)
    return Advantages(xp.where(zero_std[:, None], 0.0, centred / scale[:, None]), zero_std, std)


def _mean(xp: Any, values: Array, valid: Array, axis: int | None) -> Array:
    count = valid.sum(axis, keepdims=axis is not None)
    return xp.where(valid, values, 0.0).sum(axis, keepdims=axis is not None) / xp.maximum(count, 1)


def _std(xp: Any, values: Array, valid: Array, axis: int | None, ddof: int) -> Array:
    count = valid.sum(axis, keepdims=axis is not None)
    squares = xp.where(valid, (values - _mean(xp, values, valid, axis)) ** 2, 0.0)
    squares = squares.sum(axis, keepdims=axis is not None)
    return xp.where(count > ddof, xp.sqrt(squares / xp.maximum(count - ddof, 1)), 0.0)
