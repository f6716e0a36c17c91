"""How the field scores sentiment: the MOSI/MOSEI family and the SIMS family.

Two conventions for two classes live side by side: MOSI's Has0 counts a score of 0 as positive, SIMS counts it
as negative, MOSI's Non0 leaves true zeros out (and counts a predicted 0 as negative). All comparisons are in
float32, as in the field's own code: in float64 the float32 values of 0.1 and -0.7 fall into the next class.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from emsa_jax.answers.labels import FIVE_EDGES, POLARITIES, THREE_EDGES, polarity_of
from emsa_jax.errors import InputError
from emsa_jax.evaluation.classification import label_metrics, per_class

FAMILIES = {"mosi": 3.0, "sims": 1.0}  # name -> the largest score
FALLBACKS = ("worst", "neutral", "drop")
F1_AVERAGES = ("weighted", "macro", "weighted_pred")
WEAK = np.float32(0.4)


def family_of(score_range: tuple[float, float]) -> str:
    """ "mosi" for scores in [-3, 3], "sims" for [-1, 1]; InputError for others."""
    for name, high in FAMILIES.items():
        if tuple(score_range) == (-high, high):
            return name
    raise InputError(f"score_range {list(score_range)}: metrics are defined for [-1, 1] and [-3, 3] only")


def paper_row(family: str) -> dict[str, str]:
    """The columns that papers print for a family: heading -> key in `regression_metrics`."""
    _check("family", family, FAMILIES)
    if family == "mosi":
        keys = {"Acc7": "Mult_acc_7", "Acc2": "Non0_acc_2", "F1": "Non0_F1_score"}
    else:
        keys = {"Acc5": "Mult_acc_5", "Acc3": "Mult_acc_3", "Acc2": "Mult_acc_2", "F1": "F1_score"}
    return keys | {"MAE": "MAE", "Corr": "Corr"}


def regression_metrics(
    pred: Sequence[float | None],
    true: Sequence[float],
    family: str,
    fallback: str = "worst",
    polarities: Sequence[str | None] | None = None,
    neutral_eps: float = 0.0,
    f1_average: str = "weighted",
) -> dict[str, float | int | bool | str | None]:
    """Every metric of both families; None where one is not defined for this family or these samples.

    pred: n predicted scores, None where an answer could not be read; true: n true scores.
    fallback: what an unread score counts as: "worst" the far end of the scale on the wrong side; "neutral" 0.0,
      which can lie nearer the truth than an honest answer; "drop" leaves the sample out. `n` (with dropped ones),
      `parse_rate`, `family` and `fallback` are returned too.
    polarities: what the answers named, None where unread (always wrong); absent: the polarity of each score.
    f1_average: of the `*F1_score` keys; "weighted_pred" weighs by predicted support, as MulT's code does.

    Keys. Two classes: Has0_acc_2 and Has0_F1_score (0 is positive), Non0_acc_2 and Non0_F1_score (true zeros
    left out), Mult_acc_2 and F1_score (0 is negative), Mult_acc_2_weak (the same where |true| <= 0.4); each
    F1 averaged over its classes as *F1_macro. More classes: Mult_acc_3, Mult_acc_5, Mult_acc_7. Distances: MAE,
    R2, and Corr with corr_defined, over the `corr_n` scores that were read, whatever the fallback. Positive,
    Neutral, Negative: Polarity_acc, Polarity_F1_macro, Polarity_F1_weighted, Polarity_UAR (mean recall).
    SIMS scores are clipped to [-1, 1] first; MOSI's MAE, Corr and R2 are those of unclipped scores.
    """
    _check("family", family, FAMILIES)
    _check("fallback", fallback, FALLBACKS)
    _check("f1_average", f1_average, F1_AVERAGES)
    if len(pred) != len(true) or (polarities is not None and len(polarities) != len(true)):
        raise InputError(f"{len(pred)} predictions and {len(true)} true scores: there must be one for each")
    read = np.array([p is not None for p in pred], bool)
    p, y = np.array([0.0 if p is None else p for p in pred], np.float32), np.array(true, np.float32)
    for name, values in (("prediction", p), ("true score", y)):
        if not np.isfinite(values).all():
            raise InputError(f"{name} {int(np.argmin(np.isfinite(values)))} is not finite")
    if polarities is None:
        polarities = [None if s is None else polarity_of(s, neutral_eps) for s in pred]
    named = np.array([POLARITIES.index(q) if q in POLARITIES else -1 for q in polarities], int)
    truly = np.array([POLARITIES.index(polarity_of(s, neutral_eps)) for s in true], int)

    corr = _correlation(p[read], y[read], family)
    if fallback == "worst":
        p = np.where(read, p, _wrong_end(y, family))
    if fallback == "drop":
        p, y, named, truly = p[read], y[read], named[read], truly[read]
    if family == "sims":
        p, y = np.clip(p, -1, 1), np.clip(y, -1, 1)

    non0 = y != 0
    weak = np.abs(y) <= WEAK
    polarity = label_metrics(named, truly, len(POLARITIES))
    return {
        **_two_classes("Has0_", p >= 0, y >= 0, f1_average),
        **_two_classes("Non0_", p[non0] > 0, y[non0] > 0, f1_average),
        **_two_classes("Mult_", p > 0, y > 0, f1_average),
        "Mult_acc_2_weak": _mean((p > 0)[weak] == (y > 0)[weak]) if family == "sims" else None,
        **_graded_classes(p, y, family),
        **_distances(p, y),
        "Corr": corr,
        "corr_n": int(read.sum()),
        "corr_defined": corr is not None,
        "Polarity_acc": polarity["ACC"],
        "Polarity_F1_macro": polarity["F1"],
        "Polarity_F1_weighted": polarity["WF1"],
        "Polarity_UAR": polarity["R"],
        "n": len(true),
        "parse_rate": _mean(read),
        "family": family,
        "fallback": fallback,
    }


def score_row(
    pred: Sequence[float | None], true: Sequence[float], family: str, **options: Any
) -> dict[str, float | int | None]:
    """What the command prints of scores: short names, and a family's own convention where the two differ.

    mosi: acc2, f1 and acc2_weak are None, f1_macro is over the two classes of non0. sims: has0 is acc2 (0 is
    negative), acc7 is None. options: as of `regression_metrics`.
    """
    m = regression_metrics(pred, true, family, **options)
    sims = family == "sims"
    two = {"acc2": m["Mult_acc_2"], "f1": m["F1_score"]} if sims else {"acc2": None, "f1": None}
    return {
        "has0_acc2": two["acc2"] if sims else m["Has0_acc_2"],
        "has0_f1": two["f1"] if sims else m["Has0_F1_score"],
        "non0_acc2": m["Non0_acc_2"],
        "non0_f1": m["Non0_F1_score"],
        **two,
        "acc3": m["Mult_acc_3"],
        "acc5": m["Mult_acc_5"],
        "acc7": m["Mult_acc_7"],
        "acc2_weak": m["Mult_acc_2_weak"],
        "f1_macro": m["F1_macro"] if sims else m["Non0_F1_macro"],
        "mae": m["MAE"],
        "corr": m["Corr"],
        "r2": m["R2"],
        "parse_rate": m["parse_rate"],
        "n": m["n"],
    }


def _two_classes(prefix: str, pred: np.ndarray, true: np.ndarray, f1_average: str) -> dict[str, float | None]:
    short = prefix.removeprefix("Mult_")  # the field's names: Mult_acc_2, but F1_score
    keys = (f"{prefix}acc_2", f"{short}F1_score", f"{short}F1_macro")
    if not len(true):
        return dict.fromkeys(keys)
    f1, _, _, support, predicted = per_class(pred.astype(int), true.astype(int), 2)
    macro = float(f1[support + predicted > 0].mean())
    weights = predicted if f1_average == "weighted_pred" else support
    score = macro if f1_average == "macro" else float(weights @ f1 / weights.sum())
    return dict(zip(keys, (_mean(pred == true), score, macro), strict=True))


def _graded_classes(p: np.ndarray, y: np.ndarray, family: str) -> dict[str, float | None]:
    if family == "mosi":

        def same(k: int) -> float | None:  # whole numbers, halves to even
            return _mean(np.rint(np.clip(p, -k, k)) == np.rint(np.clip(y, -k, k)))

        return {"Mult_acc_3": same(1), "Mult_acc_5": same(2), "Mult_acc_7": same(3)}

    def same(edges: np.ndarray) -> float | None:
        return _mean(np.searchsorted(edges, p) == np.searchsorted(edges, y))

    return {"Mult_acc_3": same(THREE_EDGES), "Mult_acc_5": same(FIVE_EDGES), "Mult_acc_7": None}


def _distances(p: np.ndarray, y: np.ndarray) -> dict[str, float | None]:
    """R2 is undefined where the truth is constant."""
    p, y = p.astype(np.float64), y.astype(np.float64)
    varied = len(y) > 1 and bool(np.ptp(y) > 0)
    return {
        "MAE": _mean(np.abs(p - y)),
        "R2": float(1 - np.sum((y - p) ** 2) / np.sum((y - y.mean()) ** 2)) if varied else None,
    }


def _correlation(p: np.ndarray, y: np.ndarray, family: str) -> float | None:
    """Pearson's; None where either side is constant."""
    if family == "sims":
        p, y = np.clip(p, -1, 1), np.clip(y, -1, 1)
    if not all(len(values) > 1 and np.ptp(values) > 0 for values in (p, y)):
        return None
    return float(np.corrcoef(p.astype(np.float64), y.astype(np.float64))[0, 1])


def _wrong_end(y: np.ndarray, family: str) -> np.ndarray:
    """The end of the scale that is wrong for each true score; 0 counts as in the family's two classes."""
    high = np.float32(FAMILIES[family])
    positive = y >= 0 if family == "mosi" else y > 0
    return np.where(positive, -high, high)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _check(field: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise InputError(f"metrics: {field} {value!r} is none of {', '.join(allowed)}")
