"""How long clips are, as shares of a data set, and the length buckets that follow."""

from collections.abc import Sequence

import numpy as np

_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


def quantiles(lengths: Sequence[float]) -> dict[str, float]:
    """{"0.5": the length that half of the clips do not exceed, ...}; lengths that occur, not means of two."""
    found = np.quantile(np.asarray(lengths), _SHARES, method="inverted_cdf")
    return {f"{share:g}": length for share, length in zip(_SHARES, found.tolist(), strict=True)}


def bucket_boundaries(lengths: Sequence[int], count: int = 4, multiple: int = 64) -> list[int]:
    """At most `count` rising boundaries, the last holding the longest: each bucket has about as many clips.

    Multiples of `multiple`, since what is padded to them runs best on hardware with tiles of 128 or 64.
    """
    shares = np.arange(1, count + 1) / count
    found = np.quantile(np.asarray(lengths), shares, method="inverted_cdf")
    return sorted({max(1, -(-int(length) // multiple)) * multiple for length in found})
