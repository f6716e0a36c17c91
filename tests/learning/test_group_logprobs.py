import numpy as np
import pytest

from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.learning.packing import pack_rows


@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_groups_equal_pairs(world, plainly, quickly, temperature):
    """Gradients are compared where they are used, in the updates."""
    tokens = np.random.default_rng(3).integers(0, 24, (4, 3, 7))

    def evaluate(function, *options):
        return quickly(
            lambda adapter, prompts: function(world.base, adapter, world.config, prompts, tokens, temperature, *options)
        )(world.adapter(1), world.prompts)

    ours = evaluate(group_logprobs, "full", 3)
    for a, b in zip(ours, evaluate(plainly), strict=True):
        assert a.dtype == np.float32 and a.shape == (4, 3, 7)
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_packed_answers_are_scored_as_if_they_were_alone(world, quickly):
    tokens = np.random.default_rng(3).integers(0, 24, (4, 5, 7))
    lengths = np.array([[7, 4, 2, 1, 3], [3, 3, 3, 3, 3], [1, 1, 1, 1, 1], [7, 7, 1, 2, 7]])
    packing = pack_rows(lengths, 7, (1, 4, 5))
    assert packing.source.shape == (4, 4, 7)
    score = quickly(
        lambda adapter, packing: group_logprobs(
            world.base, adapter, world.config, world.prompts, tokens, 0.9, packing=packing
        )
    )
    for ours, alone in zip(score(world.adapter(1), packing), score(world.adapter(1), None), strict=True):
        valid = np.arange(7) < lengths[..., None]
        np.testing.assert_allclose(ours[valid], alone[valid], atol=1e-5)
        assert np.isfinite(ours).all()
