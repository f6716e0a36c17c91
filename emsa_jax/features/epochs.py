"""An epoch of training for several seeds in one program.

All seeds do the same number of steps; each has its own parameters, order of the data, dropout and rate, and its own
stop: a seed that has stopped is computed on with the others and keeps what it has. Arrays of the data are held once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emsa_jax.features.networks import Batch, Network, Tree
from emsa_jax.features.protocol import Protocol
from emsa_jax.features.updates import Learner, add_gradients, new_learner, update

IMPROVEMENT = 1e-6  # by which a validation loss has to be lower to count as better
PLATEAU_THRESHOLD = 1e-4  # the same for the plateau, as a share: PyTorch's default


@struct.dataclass
class SeedState:
    """All that a seed's next epoch depends on, beside the data and the options.

    Attributes:
      best: [P], the parameters of the epoch whose validation loss was best.
      best_loss, best_epoch, epoch: scalars; epochs count from 1, and 0 is before the first.
      plateau_loss, plateau_wait: of the schedule.
      done: bool, whether the seed has stopped.
    """

    learner: Learner
    best: jax.Array
    best_loss: jax.Array
    best_epoch: jax.Array
    epoch: jax.Array
    plateau_loss: jax.Array
    plateau_wait: jax.Array
    done: jax.Array


def new_state(params: jax.Array, protocol: Protocol) -> SeedState:
    """Before the first epoch. params: [P]."""
    zero, worst = jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf, params.dtype)
    learner = new_learner(params, protocol.learning_rate)
    return SeedState(learner, params, worst, zero, zero, worst, zero, jnp.zeros((), bool))


@dataclass(frozen=True)
class Programs:
    """Compiled functions for seeds, S of them.

    Attributes:
      epoch: (states [S], training data, validation data, order int32 [S, batches, B], weight [batches, B], rates [S] of
        this epoch or NaN, keys [S]) -> (states, {"train_loss", "valid_loss": [S]}).
      predict: (params [S, P], data) -> float [S, N].
    """

    epoch: Callable
    predict: Callable


def programs(network: Network, protocol: Protocol, unravel: Callable, decays: np.ndarray) -> Programs:
    """The programs for one network; the shapes of what they are given decide what is compiled."""

    def loss(params: jax.Array, batch: Batch, key: jax.Array) -> jax.Array:
        return network.losses(unravel(params), batch, key)["total"]

    def learn(
        learner: Learner, train: Batch, order: jax.Array, weight: jax.Array, key: jax.Array
    ) -> tuple[Learner, jax.Array]:
        batches = len(order)
        updates, left = divmod(batches, protocol.accumulate)
        tail = left if protocol.leftover == "use" else 0

        def step(learner: Learner, i: jax.Array) -> tuple[Learner, jax.Array]:
            batch = _take(train, order[i], weight[i])
            value, gradients = jax.value_and_grad(loss)(learner.params, batch, jax.random.fold_in(key, i))
            return add_gradients(learner, gradients, protocol), value

        def several(learner: Learner, indices: jax.Array) -> tuple[Learner, jax.Array]:
            learner, values = jax.lax.scan(step, learner, indices)
            return update(learner, len(indices), decays, protocol), values

        learner = learner.replace(gradients=jnp.zeros_like(learner.gradients))
        whole = jnp.arange(updates * protocol.accumulate).reshape(updates, protocol.accumulate)
        learner, values = jax.lax.scan(several, learner, whole)
        values = values.reshape(-1)
        if tail:
            learner, more = several(learner, jnp.arange(updates * protocol.accumulate, batches))
            values = jnp.concatenate([values, more])
        return learner, values.mean()

    def one_epoch(
        state: SeedState,
        train: Batch,
        valid: Batch,
        order: jax.Array,
        weight: jax.Array,
        rate: jax.Array,
        key: jax.Array,
    ) -> tuple[SeedState, dict[str, jax.Array]]:
        given = state.learner.replace(rate=jnp.where(jnp.isnan(rate), state.learner.rate, rate))
        learner, train_loss = learn(given, train, order, weight, key)
        predictions = predict(network, unravel, learner.params, valid, protocol.batch_size)
        valid_loss = validation_loss(network, predictions, valid.labels[:, 0], protocol)
        new = judged(state.replace(learner=learner, epoch=state.epoch + 1), valid_loss, protocol)
        kept = jax.tree.map(lambda old, now: jnp.where(state.done, old, now), state, new)
        return kept, {"train_loss": train_loss, "valid_loss": valid_loss}

    def predictions(params: jax.Array, data: Batch) -> jax.Array:
        return predict(network, unravel, params, data, protocol.batch_size)

    return Programs(
        jax.jit(jax.vmap(one_epoch, in_axes=(0, None, None, 0, None, 0, 0)), donate_argnums=0),
        jax.jit(jax.vmap(predictions, in_axes=(0, None))),
    )


def judged(state: SeedState, loss: jax.Array, protocol: Protocol) -> SeedState:
    """The state after an epoch's validation: the best parameters, the rate, and whether to stop."""
    better = loss <= state.best_loss - IMPROVEMENT
    pick = lambda new, old: jnp.where(better, new, old)  # noqa: E731
    best_epoch = pick(state.epoch, state.best_epoch)
    lower = loss < state.plateau_loss * (1 - PLATEAU_THRESHOLD)
    wait = jnp.where(lower, 0, state.plateau_wait + 1)
    drop = (wait > protocol.patience) & (protocol.schedule == "plateau")
    learner = state.learner.replace(rate=state.learner.rate * jnp.where(drop, protocol.factor, 1))
    return state.replace(
        learner=learner,
        best=pick(state.learner.params, state.best),
        best_loss=pick(loss, state.best_loss),
        best_epoch=best_epoch,
        plateau_loss=jnp.where(lower, loss, state.plateau_loss),
        plateau_wait=jnp.where(drop, 0, wait),
        done=(state.epoch - best_epoch >= protocol.early_stop) | (state.epoch >= protocol.max_epochs),
    )


def predict(
    network: Network, unravel: Callable[[jax.Array], Tree], params: jax.Array, data: Batch, size: int
) -> jax.Array:
    """Predictions for all utterances, [N], `size` at a time, nothing dropped."""
    count = len(data.labels)
    batches = -(-count // size)
    order = jnp.minimum(jnp.arange(batches * size), count - 1).reshape(batches, size)
    tree = unravel(params)

    def some(_: None, at: jax.Array) -> tuple[None, jax.Array]:
        outputs = network.outputs(tree, _take(data, at, jnp.ones(size, params.dtype)))
        return None, outputs[network.kind.prediction][:, 0]

    return jax.lax.scan(some, None, order)[1].reshape(-1)[:count]


def validation_loss(network: Network, predictions: jax.Array, labels: jax.Array, protocol: Protocol) -> jax.Array:
    """The mean over batches of the mean over a batch, of which the last may be short, rounded: the public code's."""
    errors = network.errors(predictions[:, None], labels[:, None])
    size, count = protocol.batch_size, len(errors)
    counts = np.diff(np.append(np.arange(0, count, size), count))
    fill = jnp.zeros(len(counts) * size - count, errors.dtype)
    loss = (jnp.concatenate([errors, fill]).reshape(-1, size).sum(1) / counts).mean()
    scale = 10**protocol.loss_decimals
    return jnp.round(loss * scale) / scale if protocol.loss_decimals else loss


def batch_order(seed: int, epoch: int, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows int32 [batches, size], weight float32 [batches, size]) of an epoch: a permutation that depends on seed and
    epoch alone. The last batch is filled up with its last row at weight 0."""
    rows = np.random.default_rng([seed, epoch]).permutation(count).astype(np.int32)
    batches = -(-count // size)
    fill = batches * size - count
    weight = np.append(np.ones(count, np.float32), np.zeros(fill, np.float32))
    return np.append(rows, np.repeat(rows[-1:], fill)).reshape(batches, size), weight.reshape(batches, size)


def _take(data: Batch, rows: jax.Array, weight: jax.Array) -> Batch:
    fields = {name: getattr(data, name)[rows] for name in ("text", "mask", "audio", "vision", "labels")}
    return Batch(**fields, weight=weight)
