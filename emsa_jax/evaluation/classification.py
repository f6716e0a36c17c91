"""Plain classification, with answers that could not be read as the class -1: always wrong, never left out."""

from collections.abc import Sequence

import numpy as np

from emsa_jax.errors import InputError


def label_metrics(pred: Sequence[int], true: Sequence[int], classes: int) -> dict[str, float | None]:
    """Classification: ACC; WF1, WP, WR weighted by true support; F1, P, R as means over the classes.

    Labels are 0 .. classes - 1; a prediction of -1 (unread) is always wrong: it lowers recall, not precision.
    Classes that neither side holds are left out of the means; a ratio 0 / 0 counts as 0. All None without a sample.
    """
    pred, true = np.asarray(pred, int), np.asarray(true, int)
    if not len(true):
        return dict.fromkeys(("ACC", "WF1", "WP", "WR", "F1", "R", "P"))
    for name, values, lowest in (("prediction", pred, -1), ("true class", true, 0)):
        if not ((lowest <= values) & (values < classes)).all():
            bad = values[(values < lowest) | (values >= classes)][0]
            raise InputError(f"{name} {bad}: classes are 0 to {classes - 1}")
    f1, precision, recall, support, predicted = per_class(pred, true, classes)
    present = support + predicted > 0
    weights = support / support.sum()
    return {
        "ACC": float((pred == true).mean()),
        "WF1": float(weights @ f1),
        "WP": float(weights @ precision),
        "WR": float(weights @ recall),
        "F1": float(f1[present].mean()),
        "R": float(recall[present].mean()),
        "P": float(precision[present].mean()),
    }


def confusion(pred: Sequence[int], true: Sequence[int], classes: int) -> list[list[int]]:
    """Counts [true class][predicted class]; where there are unread answers (-1), they are the last column, and the
    last row, which holds none, keeps the matrix square, as scikit-learn has it."""
    pred, true = np.asarray(pred, int), np.asarray(true, int)
    size = classes + bool((pred < 0).any())
    counts = np.zeros((size, size), int)
    np.add.at(counts, (true, pred), 1)  # -1 is the last column
    return counts.tolist()


def label_row(pred: Sequence[int], true: Sequence[int], classes: int) -> dict[str, float | int | list | None]:
    """What the command prints of classes. UAR: recall as a mean over classes, R again. WAR: ACC again."""
    m = label_metrics(pred, true, classes)
    return {
        **{name: m[name] for name in ("ACC", "WF1", "WP", "F1", "R", "P")},
        "UAR": m["R"],
        "WAR": m["ACC"],
        "confusion": confusion(pred, true, classes),
        "parse_rate": float(np.mean(np.asarray(pred, int) >= 0)) if len(true) else None,
        "n": len(true),
    }


def per_class(pred: np.ndarray, true: np.ndarray, classes: int) -> tuple[np.ndarray, ...]:
    """F1, precision, recall, true support and predicted support, each [classes]."""
    hit = np.bincount(true[pred == true], minlength=classes)
    support = np.bincount(true, minlength=classes)
    predicted = np.bincount(pred[pred >= 0], minlength=classes)
    precision = hit / np.maximum(predicted, 1)
    recall = hit / np.maximum(support, 1)
    f1 = 2 * hit / np.maximum(support + predicted, 1)
    return f1, precision, recall, support, predicted
