"""One update of a network's parameters, which are one vector: gradients of batches add up, are cut, and move Adam.

One vector and not some hundred small arrays: the optimizer is then a handful of operations, for one seed or for many
(see `epochs.py`), and a checkpoint a handful of arrays.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from emsa_jax.features.protocol import Protocol

ADAM = optax.scale_by_adam()  # its defaults are PyTorch's


@struct.dataclass
class Learner:
    """What an update reads and changes, of P parameters.

    Attributes:
      params: [P].
      adam: optax's state, two [P] and a count.
      gradients: [P], the sum over the batches since the last update, cut.
      rate: scalar, of the next update.
      refused: int32, updates that were not taken because numbers were not finite.
    """

    params: jax.Array
    adam: optax.OptState
    gradients: jax.Array
    rate: jax.Array
    refused: jax.Array


def new_learner(params: jax.Array, rate: float) -> Learner:
    """At the start of training."""
    zero = jnp.zeros_like(params)
    return Learner(params, ADAM.init(params), zero, jnp.asarray(rate, params.dtype), jnp.zeros((), jnp.int32))


def add_gradients(learner: Learner, gradients: jax.Array, protocol: Protocol) -> Learner:
    """Adds the gradients [P] of a batch and cuts the sum by value."""
    total = learner.gradients + gradients
    if protocol.clip_value:
        total = jnp.clip(total, -protocol.clip_value, protocol.clip_value)
    return learner.replace(gradients=total)


def update(learner: Learner, batches: int | jax.Array, decays: np.ndarray, protocol: Protocol) -> Learner:
    """One update by Adam with the gradients of `batches` batches, which are then forgotten.

    It is not taken where it would leave numbers that are not finite. decays: [P], 1 for parameters that decay.
    """
    gradients = learner.gradients / batches if protocol.average else learner.gradients
    if protocol.clip_norm:
        gradients *= jnp.minimum(1, protocol.clip_norm / (jnp.linalg.norm(gradients) + 1e-6))
    step, adam = ADAM.update(gradients, learner.adam)
    if protocol.weight_decay:
        step += protocol.weight_decay * decays.astype(step.dtype) * learner.params
    params = learner.params - learner.rate * step
    sound = jnp.isfinite(params).all() & jnp.isfinite(gradients).all()
    taken = jax.tree.map(lambda new, old: jnp.where(sound, new, old), (params, adam), (learner.params, learner.adam))
    return learner.replace(
        params=taken[0],
        adam=taken[1],
        gradients=jnp.zeros_like(gradients),
        refused=learner.refused + jnp.where(sound, 0, 1).astype(jnp.int32),
    )
