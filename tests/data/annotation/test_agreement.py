"""Fleiss' kappa against statsmodels, Fleiss' own example, and what it must be where it is known."""

import numpy as np
import pytest
from statsmodels.stats.inter_rater import fleiss_kappa as referee

from emsa_jax.data.annotation.agreement import agreement, fleiss_kappa

# ten subjects, fourteen raters, five categories: the example that textbooks print, kappa 0.210
EXAMPLE = np.array([[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
                    [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]])  # fmt: skip


def drawn(rng, items, categories, sure, raters=5):
    """counts [items, categories] of raters who name an item's own category with probability `sure`."""
    own = rng.integers(0, categories, (items, 1))
    votes = np.where(rng.random((items, raters)) < sure, own, rng.integers(0, categories, (items, raters)))
    return (votes[..., None] == np.arange(categories)).sum(1)


@pytest.mark.parametrize("seed", range(8))
def test_it_equals_statsmodels(seed):
    rng = np.random.default_rng(seed)
    counts = drawn(rng, int(rng.integers(5, 300)), int(rng.integers(2, 22)), rng.random(), int(rng.integers(2, 9)))
    assert fleiss_kappa(counts) == pytest.approx(referee(counts), abs=1e-12)


def test_the_textbooks_example():
    assert fleiss_kappa(EXAMPLE) == pytest.approx(0.210, abs=5e-4)
    per_class = agreement(EXAMPLE, resamples=10).per_class
    p = EXAMPLE.sum(0) / EXAMPLE.sum()
    expected = 1 - (EXAMPLE * (14 - EXAMPLE)).sum(0) / (10 * 14 * 13 * p * (1 - p))  # Fleiss 1971, formula 21
    np.testing.assert_allclose(per_class, expected)


def test_full_agreement_none_and_what_is_undefined():
    assert fleiss_kappa(np.array([[5, 0], [0, 5], [5, 0]])) == 1
    assert fleiss_kappa(np.array([[1, 1]] * 4)) == -1
    for nothing in (np.array([[5, 0], [5, 0]]), np.zeros((0, 2), int), np.array([[1, 0], [0, 1]])):
        assert fleiss_kappa(nothing) is None
        assert agreement(nothing).low is None


def test_items_that_one_person_saw_do_not_count_and_numbers_of_votes_may_differ():
    counts = np.array([[3, 2], [5, 0], [1, 0], [0, 0], [1, 2]])
    assert fleiss_kappa(counts) == pytest.approx(fleiss_kappa(counts[[0, 1, 4]]))
    assert (agreement(counts).items, agreement(counts).votes) == (3, 13)
    agree = np.mean([(9 + 4 - 5) / 20, 1, (1 + 4 - 3) / 6])
    chance = (9 / 13) ** 2 + (4 / 13) ** 2
    assert fleiss_kappa(counts) == pytest.approx((agree - chance) / (1 - chance))


def test_the_interval_holds_the_true_value_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    true = fleiss_kappa(drawn(rng, 100_000, 3, 0.7))
    held = widths = 0
    for trial in range(100):
        found = agreement(drawn(rng, 150, 3, 0.7), resamples=300, seed=trial)
        held += found.low <= true <= found.high
        widths += found.high - found.low
    assert 88 <= held <= 100  # 95 expected, 2.2 a standard deviation
    wider = agreement(drawn(rng, 150, 3, 0.7), 0.99, 300)
    assert wider.high - wider.low > widths / 100 and wider.low < wider.kappa < wider.high


def test_a_seed_decides_the_interval():
    counts = drawn(np.random.default_rng(1), 60, 4, 0.5)
    assert agreement(counts, seed=3) == agreement(counts, seed=3)
    assert agreement(counts, seed=3).low != agreement(counts, seed=4).low
