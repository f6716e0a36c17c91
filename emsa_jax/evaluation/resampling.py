"""How sure a number is: bootstrap intervals over clips, paired tests between two runs, spread over seeds."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy  # its statistics are loaded when they are first asked for: it takes more than a second

RESAMPLES = 1000
LEVEL = 0.95

Metrics = Mapping[str, object]


def intervals(
    measure: Callable[[np.ndarray], Metrics], n: int, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, tuple[float, float] | None]:
    """Percentile bootstrap over clips (Efron): metric -> (low, high) at `LEVEL`.

    measure(rows): the metrics of the clips `rows` (int [n], with repetitions). None for a metric that is undefined on
    more than one resample in twenty; flags, counts and matrices have no interval.
    """
    draws = _draws(measure, n, resamples, seed) if n else []
    names = [name for name, value in (measure(np.arange(n)) if n else {}).items() if _is_number(value)]
    found = {}
    for name in names:
        values = np.array([draw[name] for draw in draws if draw[name] is not None], np.float64)
        enough = len(values) >= LEVEL * len(draws) and len(values) > 0
        found[name] = tuple(map(float, np.quantile(values, _tails()))) if enough else None
    return found


def compare(
    measure: Callable, first: Sequence, second: Sequence, true: np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, dict | None]:
    """Two runs on the same clips: metric -> {"difference": first - second, "interval", "p"}.

    measure(pred, true) -> metrics. interval: paired bootstrap. p: two-sided permutation test that swaps the two
    answers to a clip at random (Noreen 1989), with the add-one correction; never below 1 / (resamples + 1). None for a
    metric that is undefined on the clips, or on more than one draw in twenty of either kind.
    """
    rng = np.random.default_rng(seed)
    a, b = _objects(first), _objects(second)
    whole = _difference(measure(list(a), true), measure(list(b), true))
    booted, swapped = [], []
    for _ in range(resamples):
        rows = rng.integers(len(true), size=len(true))
        booted.append(_difference(measure(list(a[rows]), true[rows]), measure(list(b[rows]), true[rows])))
        swap = rng.random(len(true)) < 0.5
        mixed = (np.where(swap, b, a), np.where(swap, a, b))
        swapped.append(_difference(*(measure(list(pred), true) for pred in mixed)))
    found: dict[str, dict | None] = {}
    for name, value in whole.items():
        drawn, under = (np.array([d[name] for d in draws if d.get(name) is not None]) for draws in (booted, swapped))
        if value is None or min(len(drawn), len(under)) < max(1, LEVEL * resamples):
            found[name] = None
            continue
        as_far = int((np.abs(under) >= abs(value) - 1e-12).sum())
        found[name] = {
            "difference": value,
            "interval": tuple(map(float, np.quantile(drawn, _tails()))),
            "p": (as_far + 1) / (len(under) + 1),
        }
    return found


def over_seeds(values: Sequence[float | None]) -> dict[str, float | int | tuple | None]:
    """{"mean", "std" (ddof 1), "interval" of the mean (Student's t, `LEVEL`), "n"} of one metric over seeds."""
    known = np.array([value for value in values if value is not None], np.float64)
    n = len(known)
    mean = float(known.mean()) if n else None
    std = float(known.std(ddof=1)) if n > 1 else None
    half = float(scipy.stats.t.ppf(_tails()[1], n - 1)) * std / math.sqrt(n) if n > 1 else None
    return {"mean": mean, "std": std, "interval": None if half is None else (mean - half, mean + half), "n": n}


def paired_seeds(first: Sequence[float], second: Sequence[float]) -> dict[str, float | int | tuple | None]:
    """Two arms over the same seeds: `over_seeds` of first - second, "p" of the paired t-test, and "needed": the seeds
    that would show a difference of this size in four of five tries (power 0.8)."""
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    found = over_seeds(differences.tolist())
    # differences that are equal but for rounding do not vary
    varied = len(differences) > 1 and float(np.ptp(differences)) > 1e-9 * float(np.abs(differences).max())
    found["p"] = float(scipy.stats.ttest_rel(first, second).pvalue) if varied else None
    found["needed"] = seeds_needed(found["mean"], found["std"]) if varied else None
    return found


def seeds_needed(difference: float, std: float, power: float = 0.8, most: int = 10_000) -> int | None:
    """Paired seeds for a two-sided t-test at 1 - `LEVEL` to find `difference` with this power; None beyond `most`."""
    if not difference or not std:
        return None
    effect = abs(difference) / std

    def reached(n: int) -> bool:
        edge = scipy.stats.t.ppf(_tails()[1], n - 1)
        return scipy.stats.nct.sf(edge, n - 1, effect * math.sqrt(n)) >= power

    low, high = 2, most
    if not reached(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle + 1, high)
    return low


def _draws(measure: Callable, n: int, resamples: int, seed: int) -> list[Metrics]:
    rng = np.random.default_rng(seed)
    return [measure(rng.integers(n, size=n)) for _ in range(resamples)]


def _objects(values: Sequence) -> np.ndarray:
    """[n] of whatever they are, pairs included."""
    found = np.empty(len(values), object)
    for i, value in enumerate(values):
        found[i] = value
    return found


def _difference(first: Metrics, second: Metrics) -> dict[str, float | None]:
    return {
        name: None if first[name] is None or second[name] is None else first[name] - second[name]
        for name in first
        if name != "n" and (_is_number(first[name]) or _is_number(second[name]))
    }


def _is_number(value: object) -> bool:
    return isinstance(value, float)


def _tails() -> tuple[float, float]:
    return (1 - LEVEL) / 2, (1 + LEVEL) / 2
