import numpy as np
import pytest

from emsa_jax.learning.logprobs import group_logprobs


@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_groups_equal_pairs(world, plainly, quickly, temperature):
    """Gradients are compared where they are used, in the updates."""
    tokens = np.random.default_rng(3).integers(0, 24, (4, 3, 7))

    def evaluate(function, *options):
        return quickly(lambda adapter, prompts: function(world.base, adapter, world.config, prompts, tokens,
                                                         temperature, *options))(world.adapter(1), world.prompts)

    ours = evaluate(group_logprobs, "full", 3)
    for a, b in zip(ours, evaluate(plainly), strict=True):
        assert a.dtype == np.float32 and a.shape == (4, 3, 7)
        np.testing.assert_allclose(a, b, atol=1e-5)
