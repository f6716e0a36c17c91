"""The quick look at bits agrees with NumPy's own."""

import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.policy.finite import PIECE, all_finite


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(dtype, bad):
    largest = np.float64(jnp.finfo(jnp.bfloat16 if dtype != np.float16 else np.float16).max)
    sound = np.array([[0.0, -0.0, 1.5], [largest, -largest, 1e-30]]).astype(dtype)
    assert all_finite(sound) and all_finite(np.zeros((0, 3), dtype))
    broken = np.zeros(PIECE + 3, dtype)
    broken[PIECE + 1] = bad
    assert all_finite(broken[:PIECE]) and not all_finite(broken)
    assert not all_finite(broken[::-1].reshape(-1, 1))


def test_float32_that_bfloat16_cannot_hold():
    for value in (np.float32(3.4e38), np.nextafter(np.float32(3.4e38), np.float32(0)), -np.float32(3.4e38)):
        assert np.isfinite(value) and not np.isfinite(value.astype(jnp.bfloat16)) and not all_finite(np.array(value))
    edge = np.array([0x7F7F7FFF, 0x7F7F8000], np.uint32).view(np.float32)
    assert np.isfinite(edge.astype(jnp.bfloat16)).tolist() == [all_finite(edge[:1]), all_finite(edge[1:])]


def test_whole_numbers_are_finite():
    assert all_finite(np.array([0x7FFFFFFF], np.int32))
