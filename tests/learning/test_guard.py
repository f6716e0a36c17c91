"""An update that is not finite leaves everything as it was."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from emsa_jax.learning.guard import CAUSES, guarded_update, told
from emsa_jax.learning.state import create_state

OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1))


@pytest.fixture(scope="module")
def taught():
    """(update, a state after one sound update)."""
    update = jax.jit(lambda state, grads, loss: guarded_update(state, grads, OPTIMIZER, loss))
    params = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2)}
    state, seen = update(create_state(params, OPTIMIZER), jax.tree.map(jnp.ones_like, params), jnp.array(1.0))
    assert int(seen["guard/cause"]) == 0 and state.step == 1
    np.testing.assert_allclose(seen["guard/largest_change"], 0.1, rtol=0.01)
    return update, state


@pytest.mark.parametrize(
    "loss, gradient, weight, cause",
    [
        (np.nan, 1.0, 1.0, "the loss"),
        (np.inf, 1.0, 1.0, "the loss"),
        (1.0, np.nan, 1.0, "the gradients"),
        (1.0, -np.inf, 1.0, "the gradients"),
        (1.0, 1e25, 1.0, "the gradients"),
        (1.0, 1.0, 3.4e38, "the new parameters"),
    ],
)
def test_an_update_that_is_not_finite_is_not_taken(taught, loss, gradient, weight, cause):
    """1e25 is finite, but its square is not; 3.4e38 is finite, but not as bfloat16."""
    update, state = taught
    state = state.replace(params={**state.params, "w": state.params["w"].at[0, 0].set(weight)})
    grads = {"w": jnp.ones((3, 2)), "b": jnp.array([0.0, gradient])}
    after, seen = update(state, grads, jnp.array(loss))
    assert CAUSES[int(seen["guard/cause"])] == cause and float(seen["guard/largest_change"]) == 0
    same = jax.tree.map(lambda a, b: np.asarray(a).tobytes() == np.asarray(b).tobytes(), after, state)
    assert jax.tree.all(same)
    again, seen = update(state.replace(params=taught[1].params), jax.tree.map(jnp.ones_like, grads), jnp.array(1.0))
    assert int(seen["guard/cause"]) == 0 and again.step == state.step + 1


@pytest.mark.parametrize("part, value", [("mu", jnp.nan), ("nu", jnp.inf)])
def test_a_memory_of_the_optimizer_that_is_not_finite_is_not_taken(taught, part, value):
    """With an infinite mean of squares nothing would move any more, and all parameters would be finite."""
    update, state = taught
    spoiled = jax.tree_util.tree_map_with_path(
        lambda path, t: t.at[0].set(value) if f".{part}[" in jax.tree_util.keystr(path) else t, state.opt_state
    )
    assert not all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(spoiled))
    after, seen = update(state.replace(opt_state=spoiled), jax.tree.map(jnp.ones_like, state.params), jnp.array(1.0))
    assert CAUSES[int(seen["guard/cause"])] == "the new parameters"
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), after.params, state.params))


def test_one_matrix_alone_is_enough(taught):
    """The B of one linear, while all else is sound."""
    update, state = taught
    spoiled = state.replace(params={**state.params, "b": state.params["b"].at[1].set(jnp.inf)})
    _, seen = update(spoiled, jax.tree.map(jnp.ones_like, state.params), jnp.array(1.0))
    assert CAUSES[int(seen["guard/cause"])] == "the new parameters"


def test_a_leap_beyond_all_weights_is_not_taken():
    """Finite numbers, which no loss is finite with."""
    optimizer = optax.sgd(1.0)
    state = create_state({"w": jnp.ones(3)}, optimizer)
    for gradient, taken in ((-1e30, False), (2e6, False), (-100.0, True)):
        after, seen = guarded_update(state, {"w": jnp.full(3, gradient / 10)}, optax.sgd(10.0), jnp.array(1.0))
        assert (int(seen["guard/cause"]) == 0) == taken and bool(
            (after.params["w"] != state.params["w"]).all()
        ) == taken
    assert told(3) == "the new parameters are not finite, or more than 1e+06 away from the old ones"
    assert told(1, now=False) == "the loss was not finite"


def test_bfloat16_overflows_are_not_taken():
    optimizer = optax.sgd(1.0)
    state = create_state({"w": jnp.full(3, 3e38, jnp.bfloat16)}, optimizer)
    for gradient, cause in ((-3e38, "the gradients"), (-1e18, ""), (jnp.nan, "the gradients")):
        grads = {"w": jnp.full(3, gradient, jnp.bfloat16)}
        after, seen = guarded_update(state, grads, optimizer, jnp.array(1.0))
        assert CAUSES[int(seen["guard/cause"])] == cause and jnp.isfinite(after.params["w"]).all()
    steep = optax.sgd(1e21)
    after, seen = guarded_update(state, {"w": jnp.full(3, -1e18, jnp.bfloat16)}, steep, jnp.array(1.0))
    assert CAUSES[int(seen["guard/cause"])] == "the new parameters" and (after.params["w"] == state.params["w"]).all()
