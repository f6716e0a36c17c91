import jax
import numpy as np
import pytest

from emsa_jax.learning.logprobs import group_logprobs

TEMPERATURE = 0.8


@pytest.fixture(scope="module")
def expected(world, plainly, quickly):
    """(tokens, pull, values, gradients to adapter and prompt embeddings) of the plain computation."""
    rng = np.random.default_rng(3)
    tokens, pull = rng.integers(0, 24, (4, 3, 7)), rng.standard_normal((4, 3, 7)).astype(np.float32)

    def loss(adapter, prompts):
        out = plainly(world.base, adapter, world.config, prompts, tokens, TEMPERATURE)
        return (out[0] * pull).sum(), out

    return tokens, pull, *evaluate(loss, world, quickly)


def evaluate(loss, world, quickly):
    (_, values), grads = quickly(jax.value_and_grad(loss, (0, 1), has_aux=True, allow_int=True))(
        world.adapter(1), world.prompts)
    return values, (grads[0], np.asarray(grads[1].x)[world.prompts.mask])


@pytest.mark.parametrize("remat, chunk", [("none", 128), ("full", 3)])
def test_groups_equal_pairs(world, same_trees, expected, quickly, remat, chunk):
    tokens, pull, values, gradients = expected

    def loss(adapter, prompts):
        out = group_logprobs(world.base, adapter, world.config, prompts, tokens, TEMPERATURE, remat, chunk)
        return (out[0] * pull).sum(), out

    ours, grads = evaluate(loss, world, quickly)
    for a, b in zip(ours, values, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(a, b, atol=1e-5)
    same_trees(grads, gradients)
