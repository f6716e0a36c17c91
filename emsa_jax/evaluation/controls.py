"""What earns nothing and still gets numbers: to be printed beside every result."""

from collections.abc import Callable, Sequence

import numpy as np

SHUFFLES = 20  # of the labels; their mean is shown


def score_controls(pred: Sequence[float | None], true: np.ndarray, measure: Callable,
                   prior: Sequence[float] | None = None, seed: int = 0) -> dict[str, dict]:
    """measure(pred, true) of three predictors that have seen no clip.

    constant: the mean of `prior`. random: a score drawn from `prior`. shuffled: the answers at hand, each held against
    another clip's label. prior: scores of the training set; without them those of `true`. random and shuffled are
    means over `SHUFFLES` draws.
    """
    prior = np.asarray(true if prior is None or not len(prior) else prior, np.float32)
    mean = float(prior.mean()) if len(prior) else 0.0
    return {"constant": measure([mean] * len(true), true),
            **_drawn(pred, true, measure, lambda rng: rng.choice(prior, len(true)).tolist(), seed)}


def label_controls(pred: Sequence[int], true: np.ndarray, measure: Callable, prior: Sequence[int] | None = None,
                   seed: int = 0) -> dict[str, dict]:
    """As `score_controls`, for classes. constant: the most frequent class."""
    prior = np.asarray(true if prior is None or not len(prior) else prior, int)
    often = int(np.bincount(prior).argmax()) if len(prior) else 0
    return {"constant": measure([often] * len(true), true),
            **_drawn(pred, true, measure, lambda rng: rng.choice(prior, len(true)).tolist(), seed)}


def _drawn(pred: Sequence, true: np.ndarray, measure: Callable, draw: Callable, seed: int) -> dict[str, dict]:
    if not len(true):
        return {"random": measure([], true), "shuffled": measure([], true)}
    rng = np.random.default_rng(seed)
    random = [measure(draw(rng), true) for _ in range(SHUFFLES)]
    shuffled = [measure(list(pred), rng.permutation(true)) for _ in range(SHUFFLES)]
    return {"random": _mean_of(random), "shuffled": _mean_of(shuffled)}


def _mean_of(results: list[dict]) -> dict:
    """The mean of each number; what is no number is left out."""
    found = {}
    for name, value in results[0].items():
        if isinstance(value, float | None) and not isinstance(value, bool):
            known = [result[name] for result in results if result[name] is not None]
            found[name] = float(np.mean(known)) if known else None
    return found
