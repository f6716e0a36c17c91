import jax.numpy as jnp
import numpy as np
import pytest
import torch

from emsa_jax.features.protocol import Protocol
from emsa_jax.features.updates import add_gradients, new_learner, update

RNG = np.random.default_rng(0)
GRADIENTS = RNG.normal(size=(6, 5)).astype(np.float32)
START = RNG.normal(size=5).astype(np.float32)


@pytest.mark.parametrize(
    "protocol, optimizer",
    [
        (Protocol(learning_rate=0.1, accumulate=2, clip_value=0.5), torch.optim.Adam),
        (Protocol(learning_rate=0.1, accumulate=1, weight_decay=0.2), torch.optim.AdamW),
        (Protocol(learning_rate=0.1, accumulate=3), torch.optim.Adam),
    ],
)
def test_updates_are_those_of_torch(protocol, optimizer):
    theirs = torch.nn.Parameter(torch.tensor(START))
    decay = {"weight_decay": protocol.weight_decay} if protocol.weight_decay else {}
    theirs_update = optimizer([theirs], lr=0.1, **decay)
    learner = new_learner(jnp.asarray(START), 0.1)
    for i, gradient in enumerate(GRADIENTS, 1):
        theirs.grad = torch.tensor(gradient) + (0 if theirs.grad is None else theirs.grad)
        if protocol.clip_value:
            torch.nn.utils.clip_grad_value_([theirs], protocol.clip_value)
        learner = add_gradients(learner, jnp.asarray(gradient), protocol)
        if i % protocol.accumulate == 0:
            theirs_update.step()
            theirs_update.zero_grad()
            learner = update(learner, protocol.accumulate, np.ones(5), protocol)
            np.testing.assert_allclose(learner.params, theirs.detach().numpy(), atol=5e-6)
    assert np.abs(np.asarray(learner.params) - START).max() > 0.1 and int(learner.refused) == 0


def test_a_mean_is_scaled_to_the_norm_and_only_what_decays_decays():
    protocol = Protocol(learning_rate=0.1, accumulate=2, average=True, clip_norm=0.5, weight_decay=1.0)
    learner = new_learner(jnp.asarray(START), 0.1)
    for gradient in (3 * GRADIENTS[0], GRADIENTS[1]):
        learner = add_gradients(learner, jnp.asarray(gradient), protocol)
    mean = (3 * GRADIENTS[0] + GRADIENTS[1]) / 2
    assert np.linalg.norm(mean) > 0.5
    after = update(learner, 2, np.array([1, 0, 0, 0, 0]), protocol)
    np.testing.assert_allclose(after.adam.mu, 0.1 * mean * 0.5 / np.linalg.norm(mean), atol=5e-6)
    still = update(learner, 2, np.zeros(5), protocol)
    np.testing.assert_allclose(after.params - still.params, [-0.1 * START[0], 0, 0, 0, 0], atol=5e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_update_that_is_not_finite_is_not_taken(bad):
    protocol = Protocol(learning_rate=0.1)
    learner = update(
        add_gradients(new_learner(jnp.asarray(START), 0.1), jnp.asarray(GRADIENTS[0]), protocol),
        1,
        np.ones(5),
        protocol,
    )
    spoilt = add_gradients(learner, jnp.asarray(GRADIENTS[1]).at[2].set(bad), protocol)
    after = update(spoilt, 1, np.ones(5), protocol)
    assert int(after.refused) == 1 and (after.params == learner.params).all()
    assert all((a == b).all() for a, b in zip(after.adam, learner.adam, strict=True))
    assert np.isfinite(
        update(add_gradients(after, jnp.asarray(GRADIENTS[1]), protocol), 1, np.ones(5), protocol).params
    ).all()
