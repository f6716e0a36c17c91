"""Chosen lengths beside all ways to cut."""

import itertools

import numpy as np
import pytest

from emsa_jax.data.length_buckets import MOST, SAVING, choose_buckets


def slots(lengths, buckets):
    edges = np.array(buckets)
    return int(edges[np.searchsorted(edges, lengths)].sum())


def every_choice(lengths, k, least):
    """The fewest slots of k lengths, by trying all."""
    steps = sorted({-(-length // 16) * 16 for length in lengths})
    found = []
    for some in itertools.combinations(steps[:-1], k - 1):
        edges = [*some, steps[-1]]
        held = np.bincount(np.searchsorted(edges, lengths), minlength=k)
        found += [slots(lengths, edges)] * int(held.min() >= least)
    return min(found, default=np.inf)


@pytest.mark.parametrize("least", [1, 3, 6])
def test_no_choice_is_better(least):
    rng = np.random.default_rng(least)
    for _ in range(20):
        lengths = np.minimum(rng.lognormal(3, 1, 14).astype(int) + 1, 250)
        buckets = choose_buckets(rng.permutation(lengths), least)
        fewest = [every_choice(lengths, k, least) for k in range(1, MOST + 1)]
        k = len(buckets)
        assert slots(lengths, buckets) == fewest[k - 1]
        assert all(after < (1 - SAVING) * before for before, after in itertools.pairwise(fewest[:k]))
        assert k == MOST or not fewest[k] < (1 - SAVING) * fewest[k - 1]
        assert np.bincount(np.searchsorted(buckets, lengths)).min() >= least or k == 1


def test_one_long_clip_is_apart_from_the_others():
    lengths = [100] * 31 + [900]
    assert choose_buckets(lengths) == (112, 960)
    assert choose_buckets(lengths, least=2) == (960,) and choose_buckets(lengths, least=33) == (960,)


def test_sentences_are_not_filled_up_to_the_longest():
    """As the sentences of people are: the longest three times the median."""
    lengths = 45 + np.random.default_rng(0).lognormal(2.6, 0.75, 1284).astype(int)
    assert (
        slots(lengths, choose_buckets(lengths))
        < 1.3 * lengths.sum()
        < 0.45 * slots(lengths, choose_buckets(lengths, 1284))
    )


def test_equal_lengths_are_one():
    assert choose_buckets([7] * 9) == choose_buckets([0]) == choose_buckets([16]) == (16,)
