"""Precision, recall and F1 of matched cues, by hand."""

import numpy as np
import pytest

from emsa_jax.rewards.cue_matching import match, unit_vectors


def test_the_largest_cosine_counts_on_each_side():
    predicted = unit_vectors([[1, 0], [3, 4]])
    gold = unit_vectors([[0, 2.0], [1, 0], [-1, 0]])
    precision, recall = (1 + 0.8) / 2, (0.8 + 1 - 0.6) / 3
    assert match(predicted, gold) == pytest.approx((precision, recall, 2 * precision * recall / (precision + recall)))


def test_cosines_are_not_clamped_and_f1_may_be_negative_or_zero():
    one = unit_vectors([[1.0, 0]])
    assert match(one, -one) == (-1, -1, 0)
    # precision -0.6, recall 0.9: a positive sum
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    predicted, gold = unit_vectors([q[0]]), unit_vectors([-q[0]])
    assert match(predicted, gold)[2] == 0
    predicted = unit_vectors([q[0], q[1]])
    gold = unit_vectors([-q[0] + 1e-9 * q[1]])
    p, r, f = match(predicted, gold)
    assert p == pytest.approx(-0.5) and r == pytest.approx(0, abs=1e-6) and f == 0


def test_length_does_not_matter_and_nothing_is_divided_by_zero():
    vectors = unit_vectors(np.array([[3.0, 4], [0, 0]], np.float32))
    assert vectors.dtype == np.float64
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0]])
