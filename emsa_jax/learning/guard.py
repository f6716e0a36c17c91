"""A guard at every update: one that would leave numbers that are not finite, or far beyond all weights, is not taken.

The state after an update that is not taken is the state before it, bit for bit: parameters, the optimizer's memory, its
count, by which the learning rate goes, and `TrainState.step`, the number of updates that were taken. The order of the
data and the random keys follow the steps of the loop, which go on.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from emsa_jax.learning.state import TrainState, apply_gradients

# what was not finite, by the code that `guarded_update` returns
CAUSES = ("", "the loss", "the gradients", "the new parameters")
FARTHEST = 1e6  # that a trained number may move in an update: no weight is as large, and products of such ones overflow
LARGEST = float(jnp.finfo(jnp.bfloat16).max)  # what is computed with as bfloat16 has to be finite there too


def guarded_update(
    state: TrainState, grads: Any, optimizer: optax.GradientTransformation, loss: jax.Array
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One update, if it is sound.

    Args:
      grads: the same tree as `state.params`.
      loss: scalar, of the whole update.

    Returns:
      (the state after the update, or `state` itself; "grad_norm": float32, before clipping; "guard/cause": int32, an
      index of `CAUSES`, 0 where the update was taken; "guard/largest_change": float32, of any trained number).
    """
    norm = optax.global_norm(grads)
    new = apply_gradients(state, grads, optimizer)
    bounded = _all(new.params, lambda leaf: jnp.abs(leaf) <= LARGEST)  # which NaN is not
    bounded &= _all(new.opt_state, jnp.isfinite)
    changes = jax.tree.map(lambda a, b: jnp.abs(a - b).max().astype(jnp.float32), new.params, state.params)
    largest = jnp.stack(jax.tree.leaves(changes)).max()
    checks = jnp.stack([jnp.isfinite(loss), jnp.isfinite(norm), bounded & (largest <= FARTHEST)])
    sound = checks.all()
    taken = jax.tree.map(lambda after, before: jnp.where(sound, after, before), new, state)
    return taken, {
        "grad_norm": norm,
        "guard/cause": jnp.where(sound, 0, 1 + jnp.argmin(checks)).astype(jnp.int32),
        "guard/largest_change": jnp.where(sound, largest, 0.0),
    }


def told(cause: int, now: bool = True) -> str:
    """A cause as a sentence of a message has it. cause: an index of `CAUSES`. now: in the present tense."""
    verb, how = ("is" if now else "was", "finite")
    if cause > 1:
        verb = "are" if now else "were"
    if CAUSES[cause] == "the new parameters":
        how = f"finite, or more than {FARTHEST:g} away from the old ones"
    return f"{CAUSES[cause]} {verb} not {how}"


def _all(tree: Any, test: Any) -> jax.Array:
    """Whether all numbers of a tree with a point pass a test."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([test(leaf).all() for leaf in leaves]).all() if leaves else jnp.array(True)
