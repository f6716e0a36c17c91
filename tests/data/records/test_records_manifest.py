import numpy as np

from emsa_jax.data.records.records_manifest import bucket_boundaries, quantiles


def test_quantiles_are_lengths_that_occur():
    found = quantiles([5, 1, 9, 3])
    assert found == {"0": 1, "0.25": 1, "0.5": 3, "0.75": 5, "0.9": 9, "0.95": 9, "0.99": 9, "1": 9}


def test_boundaries_hold_every_length_in_even_shares():
    lengths = np.random.default_rng(0).gamma(4, 100, 2000).astype(int).tolist()
    boundaries = bucket_boundaries(lengths)
    assert boundaries == sorted(set(boundaries)) and len(boundaries) == 4
    assert all(b % 64 == 0 for b in boundaries) and max(lengths) <= boundaries[-1] < max(lengths) + 64
    shares = np.bincount(np.searchsorted(boundaries, lengths)) / len(lengths)
    np.testing.assert_allclose(shares, 0.25, atol=0.1)


def test_boundaries_of_equal_lengths_are_one():
    assert bucket_boundaries([7] * 9) == [64] and bucket_boundaries([0]) == [64] and bucket_boundaries([64]) == [64]
