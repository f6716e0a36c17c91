"""Fleiss' kappa of several raters, with intervals and for each class.

J. L. Fleiss, Measuring nominal scale agreement among many raters, Psychological Bulletin 76, 1971.
"""

from dataclasses import dataclass

import numpy as np

_CHUNK = 200  # resamples at a time, so that memory stays flat


@dataclass(frozen=True)
class Agreement:
    """Agreement of several raters.

    kappa: None where it is undefined, that is with one category alone or no item that two people rated. low, high: the
    ends of the interval. items: those with two votes or more; no others count. votes: of these items. per_class: the
    kappa of each category against all others.
    """

    kappa: float | None
    low: float | None
    high: float | None
    items: int
    votes: int
    per_class: tuple[float | None, ...]


def fleiss_kappa(counts: np.ndarray) -> float | None:
    """counts: int [items, categories], votes for each.

    (mean P_i - sum p_j^2) / (1 - sum p_j^2), where P_i is the fraction of an item's pairs of raters that agree, and p_j
    the fraction of all votes that category j has. Items may have different numbers of votes; those with fewer than two
    are left out. None where only one category occurs, or no item counts.
    """
    counts = _rated(counts)
    return _none(_kappas(counts, np.ones((1, len(counts))))[0]) if len(counts) else None


def agreement(counts: np.ndarray, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Agreement:
    """Kappa with a percentile bootstrap over items, and the kappa of each category against all others.

    Resamples in which kappa is undefined are left out; where it is undefined in all, so is the interval.
    """
    counts = _rated(counts)
    kappa = fleiss_kappa(counts)
    low = high = None
    if kappa is not None:
        rng, n, found = np.random.default_rng(seed), len(counts), []
        for start in range(0, resamples, _CHUNK):
            times = rng.multinomial(n, np.full(n, 1 / n), min(_CHUNK, resamples - start))
            found.append(_kappas(counts, times))
        found = np.concatenate(found)
        tail = 50 * (1 - confidence)
        if not np.isnan(found).all():
            low, high = (float(x) for x in np.nanpercentile(found, (tail, 100 - tail)))
    others = counts.sum(1, keepdims=True) - counts
    per_class = tuple(fleiss_kappa(np.stack([counts[:, j], others[:, j]], 1)) for j in range(counts.shape[1]))
    return Agreement(kappa, low, high, len(counts), int(counts.sum()), per_class)


def _rated(counts: np.ndarray) -> np.ndarray:
    counts = np.asarray(counts)
    return counts[counts.sum(1) >= 2]


def _kappas(counts: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Kappa [resamples] of items counted `times` [resamples, items] each; nan where it is undefined."""
    raters = counts.sum(1)
    agree = ((counts**2).sum(1) - raters) / (raters * (raters - 1))
    observed = times @ agree / times.sum(1)
    votes = times @ counts
    fraction = votes / votes.sum(1, keepdims=True)
    chance = (fraction**2).sum(1)
    undefined = (votes > 0).sum(1) == 1
    return np.where(undefined, np.nan, (observed - chance) / np.where(undefined, 1.0, 1 - chance))


def _none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
