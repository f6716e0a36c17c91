"""What earns nothing and still gets numbers: to be printed beside every result."""

from collections.abc import Callable, Sequence

import numpy as np

SHUFFLES = 20  # of the labels; their mean is shown


def score_controls(
    pred: Sequence[float | None],
    true: np.ndarray,
    measure: Callable,
    prior: Sequence[float] | None = None,
    seed: int = 0,
) -> dict[str, dict]:
    """measure(pred, true) of three predictors that have seen no clip.

    constant: the mean of `prior`. random: a score drawn from `prior`. shuffled: the answers at hand, each held against
    another clip's label. prior: scores of the training set (None: those of `true`); where it is empty, shuffled is all
    there is. random and shuffled are means over `SHUFFLES` draws.
    """
    prior = np.asarray(true if prior is None else prior, np.float32)
    return _controls(pred, true, measure, prior, float(prior.mean()) if len(prior) else None, seed)


def label_controls(
    pred: Sequence[int], true: np.ndarray, measure: Callable, prior: Sequence[int] | None = None, seed: int = 0
) -> dict[str, dict]:
    """As `score_controls`, for classes. constant: the most frequent class."""
    prior = np.asarray(true if prior is None else prior, int)
    return _controls(pred, true, measure, prior, int(np.bincount(prior).argmax()) if len(prior) else None, seed)


def _controls(
    pred: Sequence, true: np.ndarray, measure: Callable, prior: np.ndarray, constant: float | int | None, seed: int
) -> dict[str, dict]:
    n = len(true)
    rng, times, found = np.random.default_rng(seed), range(SHUFFLES if n else 1), {}
    if constant is not None:
        found = {
            "constant": measure([constant] * n, true),
            "random": _mean_of([measure(rng.choice(prior, n).tolist(), true) for _ in times]),
        }
    return found | {"shuffled": _mean_of([measure(list(pred), rng.permutation(true)) for _ in times])}


def _mean_of(results: list[dict]) -> dict:
    """The mean of each number; what is no number is left out."""
    found = {}
    for name, value in results[0].items():
        if isinstance(value, float | None) and not isinstance(value, bool):
            known = [result[name] for result in results if result[name] is not None]
            found[name] = float(np.mean(known)) if known else None
    return found
