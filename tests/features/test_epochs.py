import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax.flatten_util import ravel_pytree

from emsa_jax.features.epochs import batch_order, judged, new_state, programs, validation_loss
from emsa_jax.features.misa import MISAOptions
from emsa_jax.features.networks import Batch, Network
from emsa_jax.features.protocol import Protocol

NETWORK = Network("misa", MISAOptions(4, 0.3))


def data(rows, seed):
    rng = np.random.default_rng(seed)
    text, audio, vision = (rng.normal(size=(rows, 5, d)).astype(np.float32) for d in (4, 3, 2))
    labels = text[:, 2, :1].clip(-1, 1)
    return jax.tree.map(jnp.asarray, Batch(text, np.ones((rows, 5), np.float32), audio, vision, labels, np.ones(rows)))


def states_of(seeds, protocol, train):
    trees = [NETWORK.init(jax.random.key(seed), train) for seed in seeds]
    unravel = ravel_pytree(trees[0])[1]
    found = [new_state(ravel_pytree(tree)[0], protocol) for tree in trees]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found), unravel


def after(seeds, protocol, train, valid, epochs=2):
    """The states of seeds that were trained together."""
    states, unravel = states_of(seeds, protocol, train)
    run = programs(NETWORK, protocol, unravel, np.ones(states.best.shape[1], np.float32))
    for epoch in range(1, 1 + epochs):
        orders, weights = zip(
            *(batch_order(s, epoch, len(train.labels), protocol.batch_size) for s in seeds), strict=True
        )
        keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), epoch) for seed in seeds])
        rates = np.full(len(seeds), np.nan, np.float32)
        states, losses = run.epoch(states, train, valid, np.stack(orders), weights[0], rates, keys)
    return states, losses, run


def with_gradient(size, train):
    """[P], 0 for the biases of attention keys: their gradient is 0 but for rounding, which Adam makes steps of."""
    unravel = ravel_pytree(NETWORK.init(jax.random.key(0), train))[1]
    tree = jax.tree.map(np.array, unravel(jnp.ones(size)))
    bias = tree["net"]["transformer_encoder.layers.0"]["self_attn"]["in_proj_bias"]
    bias[len(bias) // 3 : 2 * len(bias) // 3] = 0
    assert size - (mask := ravel_pytree(tree)[0]).sum() == 4
    return mask


@pytest.fixture(scope="module")
def sets():
    return data(11, 0), data(5, 1)


@pytest.fixture(scope="module")
def together(sets):
    return after((3, 5, 8), Protocol(4, 1e-2, accumulate=2), *sets)


def test_a_seed_among_others_is_the_seed_alone(sets, together):
    alone, losses, _ = after((5,), Protocol(4, 1e-2, accumulate=2), *sets)
    states, others, _ = together
    counted = with_gradient(states.best.shape[1], sets[0])
    for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(states), strict=True):
        mask = counted if one.ndim == 2 else 1
        np.testing.assert_allclose(np.asarray(one[0], float) * mask, np.asarray(many[1], float) * mask, atol=1e-5)
    np.testing.assert_allclose(losses["train_loss"][0], others["train_loss"][1], atol=1e-5)
    assert float(jnp.abs(states.best[0] - states.best[1]).max()) > 0.05  # and no two seeds are alike


def test_left_over_batches_are_lost_or_used(sets, together):
    states, _, _ = together
    assert int(states.learner.adam.count[0]) == 2  # of 3 batches an epoch, the third is lost
    used, _, _ = after((3,), Protocol(4, 1e-2, accumulate=2, leftover="use"), *sets)
    assert int(used.learner.adam.count[0]) == 4


def test_predictions_are_those_of_the_network_whatever_the_batch(sets, together):
    train, _ = sets
    states, _, run = together
    unravel = states_of((3,), Protocol(), train)[1]
    found = run.predict(states.best, train)
    for row in range(3):
        expected = NETWORK.outputs(unravel(states.best[row]), train)["M"][:, 0]
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_a_seed_that_is_done_keeps_all_it_has(sets):
    protocol = Protocol(4, 1e-2, max_epochs=1)
    once, _, _ = after((3,), protocol, *sets, epochs=1)
    once = jax.tree.map(np.asarray, once)
    more, _, _ = after((3,), protocol, *sets, epochs=3)
    assert bool(more.done[0]) and int(more.epoch[0]) == 1
    assert all((np.asarray(a) == b).all() for a, b in zip(jax.tree.leaves(more), jax.tree.leaves(once), strict=True))


def test_the_order_is_a_permutation_of_seed_and_epoch_and_fills_up_with_weight_0():
    rows, weight = batch_order(7, 2, 10, 4)
    assert rows.shape == weight.shape == (3, 4) and weight.sum() == 10
    assert sorted(rows[weight == 1]) == list(range(10)) and (weight[2] == [1, 1, 0, 0]).all()
    assert (batch_order(7, 2, 10, 4)[0] == rows).all()
    assert (batch_order(7, 3, 10, 4)[0] != rows).any() and (batch_order(8, 2, 10, 4)[0] != rows).any()


def test_the_validation_loss_is_the_rounded_mean_of_batch_means():
    predictions, labels = jnp.array([0.0, 1, 2, 3, 4]), jnp.zeros(5)
    network = dataclasses.replace(NETWORK)
    loss = validation_loss(network, predictions / 7, labels, Protocol(batch_size=2))
    expected = np.mean([np.mean([0, 1]), np.mean([4, 9]), 16]) / 49
    np.testing.assert_allclose(loss, round(expected, 4), atol=1e-7)
    exact = validation_loss(network, predictions / 7, labels, Protocol(batch_size=2, loss_decimals=0))
    np.testing.assert_allclose(exact, expected, rtol=1e-6)
    assert float(loss) != float(exact)


LOSSES = [1.0, 0.8, 0.9, 0.85, 0.81, 0.79995, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]


def test_rates_fall_as_torchs_plateau_and_the_stop_counts_from_the_best():
    protocol = Protocol(learning_rate=1.0, schedule="plateau", factor=0.5, patience=2, early_stop=4, max_epochs=99)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=2)
    state, best = new_state(jnp.zeros(2), protocol), []
    for epoch, loss in enumerate(LOSSES, 1):
        learner = state.learner.replace(params=jnp.full(2, float(epoch)))
        state = judged(state.replace(epoch=jnp.int32(epoch), learner=learner), jnp.float32(loss), protocol)
        plateau.step(loss)
        assert float(state.learner.rate) == optimizer.param_groups[0]["lr"], epoch
        best.append(int(state.best_epoch))
        assert bool(state.done) == (epoch - best[-1] >= 4), epoch
    assert best == [1, 2, 2, 2, 2, 6, 7, 7, 7, 7, 7, 7] and float(state.learner.rate) < 1
    assert (state.best == 7).all() and bool(state.done)
    last = judged(state.replace(epoch=jnp.int32(99)), jnp.float32(0.1), protocol)
    assert bool(last.done)  # the limit of epochs, though it was the best
    nan = judged(state, jnp.float32(np.nan), protocol)
    assert int(nan.best_epoch) == 7
