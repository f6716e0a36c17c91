"""What training changes: the trained parameters, the optimizer's memory, and the number of updates made."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct


@struct.dataclass
class TrainState:
    """params: pytree of trained leaves (an adapter, or everything). opt_state: of the optimizer. step:
    int32 scalar."""

    params: Any
    opt_state: Any
    step: jax.Array


def create_state(params: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first update."""
    return TrainState(params, optimizer.init(params), jnp.zeros((), jnp.int32))


def copied(params: Any) -> Any:
    """The same arrays in memory of their own: an update gives away those that it is called with."""
    return jax.tree.map(jnp.copy, params)


def apply_gradients(state: TrainState, grads: Any, optimizer: optax.GradientTransformation) -> TrainState:
    """One update: the state after the gradients (same tree as params)."""
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    return TrainState(optax.apply_updates(state.params, updates), opt_state, state.step + 1)
