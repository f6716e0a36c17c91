import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.learning.masked import masked_mean, masked_sum

VALUES = jnp.asarray([[1.0, 2.0, jnp.nan], [4.0, jnp.inf, jnp.nan], [jnp.nan] * 3])
MASK = jnp.asarray([[1, 1, 0], [1, 0, 0], [0, 0, 0]])


def test_over_all_and_by_row():
    np.testing.assert_allclose(masked_sum(VALUES, MASK), 7)
    np.testing.assert_allclose(masked_mean(VALUES, MASK), 7 / 3)
    np.testing.assert_allclose(masked_mean(VALUES, MASK, 1), [1.5, 4, 0])


def test_gradient_is_finite_beside_nan():
    grad = jax.grad(lambda x: masked_mean(x, MASK))(VALUES)
    np.testing.assert_allclose(grad, MASK / 3)
