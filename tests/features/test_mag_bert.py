import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.features.mag_bert import MAGOptions, Shift, align_as_mmsa, align_contiguous

RNG = np.random.default_rng(0)


def numbered(frames):
    return jnp.arange(float(frames)).reshape(1, frames, 1)


@pytest.mark.parametrize(
    "frames, expected",
    [(4, [0, 1, 2, 3]), (8, [2, 3, 4, 5]), (6, [2, 3, 3.5, 4]), (2, [0, 1, 1, 1])],
)
def test_frames_are_aligned_as_mmsa_does_it(frames, expected):
    np.testing.assert_allclose(align_as_mmsa(numbered(frames), 4)[0, :, 0], expected)


@pytest.mark.parametrize(
    "frames, expected", [(4, [0, 1, 2, 3]), (8, [0.5, 2.5, 4.5, 6.5]), (6, [0, 1.5, 3, 4.5]), (2, [0, 0, 1, 1])]
)
def test_frames_that_follow_each_other_are_averaged(frames, expected):
    np.testing.assert_allclose(align_contiguous(numbered(frames), 4)[0, :, 0], expected)


def test_padded_frames_shift_nothing_and_have_gradients():
    text = jnp.asarray(RNG.normal(size=(1, 3, 8)), jnp.float32)
    audio, vision = (jnp.asarray(RNG.normal(size=(1, 3, d)), jnp.float32).at[:, 0].set(0) for d in (2, 4))
    module = Shift(MAGOptions(1.0, 0.0))
    params = module.init(jax.random.key(0), text, audio, vision, False)  # whose biases are 0
    moved = module.apply(params, text, audio, vision, False)
    alone = module.apply(params, text, 0 * audio, 0 * vision, False)
    np.testing.assert_allclose(moved[:, 0], alone[:, 0], atol=1e-6)
    assert float(jnp.abs(moved[:, 1:] - alone[:, 1:]).max()) > 1e-4
    grads = jax.grad(lambda p: (module.apply(p, text, audio, vision, False) ** 3).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))


def test_a_shift_is_no_longer_than_beta_of_the_word():
    text = jnp.asarray(RNG.normal(size=(1, 5, 8)), jnp.float32)
    audio, vision = (100 * jnp.asarray(RNG.normal(size=(1, 5, d)), jnp.float32) for d in (2, 4))
    module = Shift(MAGOptions(0.0, 0.0))
    params = module.init(jax.random.key(0), text, audio, vision, False)
    still = module.apply(params, text, audio, vision, False)
    np.testing.assert_allclose(still, module.apply(params, text, 0 * audio, 0 * vision, False), atol=1e-5)
