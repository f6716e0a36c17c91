import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.learning.learning_options import OptimizerOptions
from emsa_jax.learning.optimizer import build_optimizer, learning_rate_schedule
from emsa_jax.learning.state import apply_gradients, create_state


def test_schedules():
    cosine = learning_rate_schedule(OptimizerOptions(learning_rate=1.0, warmup=0.1), 100)
    rates = [cosine(step) for step in (0, 5, 10, 55, 100)]
    np.testing.assert_allclose(rates, [0, 0.5, 1, 0.5, 0], atol=1e-6)
    options = OptimizerOptions(learning_rate=2.0, warmup=4, schedule="constant")
    constant = learning_rate_schedule(options, 100)
    np.testing.assert_allclose([constant(1), constant(4), constant(99)], [0.5, 2, 2])


def test_decay_spares_vectors_norms_and_biases():
    layers = {"input_norm": jnp.ones((3, 2)), "q_bias": jnp.ones((3, 2))}
    params = {"linear": jnp.ones((2, 2)), "layers": layers, "vector": jnp.ones(2)}
    options = OptimizerOptions(learning_rate=0.1, schedule="constant", weight_decay=0.5)
    optimizer = build_optimizer(options, 10)
    state = apply_gradients(create_state(params, optimizer), jax.tree.map(jnp.zeros_like, params), optimizer)
    assert state.step == 1 and state.step.dtype == jnp.int32
    np.testing.assert_allclose(state.params["linear"], 0.95)
    for kept in jax.tree.leaves([state.params["layers"], state.params["vector"]]):
        assert np.all(kept == 1)


def test_clipping_bounds_the_gradient(monkeypatch):
    # With so large an eps the step is nearly linear in the gradient.
    monkeypatch.setattr("emsa_jax.learning.optimizer.EPS", 1e3)
    options = OptimizerOptions(learning_rate=1.0, schedule="constant", clip_norm=1.0)
    params = {"w": jnp.zeros((2, 2))}
    moved = []
    for size in (10.0, 1000.0):
        optimizer = build_optimizer(options, 10)
        state = apply_gradients(create_state(params, optimizer), {"w": jnp.full((2, 2), size)}, optimizer)
        moved.append(state.params["w"])
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-5)


def test_bad_options():
    for bad in ({"learning_rate": 0.0}, {"warmup": -1.0}, {"clip_norm": 0.0}):
        with pytest.raises(InputError, match=next(iter(bad))):
            OptimizerOptions(**bad)
