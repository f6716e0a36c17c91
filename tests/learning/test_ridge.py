"""The closed form against scikit-learn, and against sums that are added up."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from emsa_jax.learning.ridge import RidgeSums


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 7)) @ rng.standard_normal((7, 7)) + 3
    y = x @ rng.standard_normal((7, 4)) + rng.standard_normal((300, 4)) - 5
    return x.astype(np.float32), y.astype(np.float32), rng.uniform(0.1, 2, 300)


@pytest.mark.parametrize("ridge", [0.0, 0.01, 1.0])
def test_scikit_learn_gives_the_same(rows, ridge):
    x, y, weight = rows
    w, b = RidgeSums.of(x, y, weight).solve(ridge)
    x, y = x.astype(np.float64), y.astype(np.float64)
    mean = np.average(x, axis=0, weights=weight)
    variance = np.average((x - mean) ** 2, axis=0, weights=weight).mean()
    theirs = Ridge(alpha=ridge * variance * weight.sum(), solver="cholesky").fit(x, y, sample_weight=weight)
    np.testing.assert_allclose(w, theirs.coef_, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(b, theirs.intercept_, rtol=1e-8, atol=1e-9)


def test_sums_of_parts_are_the_sums(rows):
    x, y, weight = rows
    cuts = (slice(0, 100), slice(100, 101), slice(101, None))
    whole, parts = RidgeSums.of(x, y, weight), [RidgeSums.of(x[at], y[at], weight[at]) for at in cuts]
    (w, b), (w2, b2) = whole.solve(0.1), (parts[0] + parts[1] + parts[2]).solve(0.1)
    np.testing.assert_allclose(w, w2, rtol=1e-10)
    np.testing.assert_allclose(b, b2, rtol=1e-10)


def test_norm_and_explained_share(rows):
    x, y, weight = rows
    sums = RidgeSums.of(x, y, weight)
    w, b = sums.solve(0.01)
    out = x.astype(np.float64) @ w.T + b
    assert sums.output_norm(w, b) == pytest.approx(np.sqrt(np.average((out**2).sum(1), weights=weight)))
    spread = ((y - np.average(y, axis=0, weights=weight)) ** 2).sum(1)
    error = ((y - out) ** 2).sum(1)
    assert sums.explained(w, b) == pytest.approx(1 - np.dot(weight, error) / np.dot(weight, spread))
