"""The CH-CEMS benchmark's tables: regression (3, 7), classification (4, 8, 9), and by scenario and interaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emsa_jax.answers.labels import SENTIMENTS, polarity_of_sentiment, sentiment_of
from emsa_jax.evaluation.classes import class_metrics
from emsa_jax.evaluation.sentiment_metrics import regression_metrics
from emsa_jax.experiments.ch_cems_published import CLASS_COLUMNS, CLASSIFICATION, REGRESSION, REGRESSION_COLUMNS

_REGRESSION_KEYS = ("Mult_acc_2", "Non0_acc_2", "F1_score", "Non0_F1_score", "Mult_acc_2_weak", "Corr", "MAE")


@dataclass(frozen=True)
class Row:
    """One line of a table, in percent. means, deviations: one for each column; None where one is not defined, or
    where there are no seeds to deviate over. seeds: 0 where the paper does not say."""

    model: str
    means: tuple[float | None, ...]
    deviations: tuple[float | None, ...]
    seeds: int
    published: bool = False


@dataclass(frozen=True)
class Table:
    """A table: its title, its columns, and its rows, which may be none."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Row]


def scored(rows: Sequence[Mapping]) -> bool:
    """Whether predictions name scores, not classes alone."""
    return any(row.get("score") is not None for row in _known(rows))


def regression_row(model: str, seeds: Sequence[Sequence[Mapping]]) -> Row:
    """Our line of tables 3 and 7, of one list of predictions (evaluate's rows, scores in [-1, 1]) for each seed."""
    found = []
    for rows in seeds:
        known = _known(rows)
        metrics = regression_metrics([row["score"] for row in known], [row["target"] for row in known], "sims")
        found.append([metrics[key] for key in _REGRESSION_KEYS])
    return _row(model, found)


def class_row(model: str, seeds: Sequence[Sequence[Mapping]], classes: int) -> Row | None:
    """Our line of tables 4, 8 and 9. Scores are mapped to classes as the paper maps those of regressors; five classes
    merge into three. None for predictions of three classes where five are asked for."""
    if any(_too_coarse(rows, classes) for rows in seeds):
        return None
    found = []
    for rows in seeds:
        known = _known(rows)
        metrics = class_metrics(
            [_named_class(row, classes) for row in known],
            [sentiment_of(row["target"], classes) for row in known],
            classes,
        )
        found.append([metrics[name] for name in CLASS_COLUMNS])
    return _row(model, found)


def published_regression() -> list[Row]:
    """The paper's lines of tables 3 and 7."""
    return [Row(model, means, deviations, 5, True) for model, (means, deviations) in REGRESSION.items()]


def published_classes(classes: int) -> list[Row]:
    """The paper's lines of table 4, with the deviations of tables 8 and 9."""
    at = 0 if classes == 3 else 1
    none = (None,) * len(CLASS_COLUMNS)
    return [
        Row(model, row[at], row[2 + at] or none, 5 if row[2 + at] else 0, True) for model, row in CLASSIFICATION.items()
    ]


def group_accuracies(seeds: Sequence[Sequence[Mapping]], group: str, classes: int) -> dict[str, list[float]]:
    """Value of the group -> accuracy in percent of each seed (figures 7 and 8); {} where predictions are too coarse, or
    say nothing of the group."""
    if any(_too_coarse(rows, classes) for rows in seeds):
        return {}
    found: dict[str, list[float]] = {}
    every = [row.get("about", {}).get(group) for rows in seeds for row in _known(rows)]
    values = dict.fromkeys(value for value in every if value)
    for value in values:
        for rows in seeds:
            of = [row for row in _known(rows) if row.get("about", {}).get(group) == value]
            if of:
                right = [_named_class(row, classes) == sentiment_of(row["target"], classes) for row in of]
                found.setdefault(value, []).append(100 * float(np.mean(right)))
    return found


def benchmark_tables(seeds: Mapping[str, Sequence], puppets: bool) -> list[Table]:
    """The tables of the benchmark. seeds: model -> predictions of each seed. puppets: leaves the paper's lines out."""
    regression = [regression_row(model, lists) for model, lists in seeds.items() if all(map(scored, lists))]
    tables = [
        Table(
            "Regression (tables 3 and 7)",
            REGRESSION_COLUMNS,
            ([] if puppets or not regression else published_regression()) + regression,
        )
    ]
    for classes in (3, 5):
        rows = [row for model, lists in seeds.items() if (row := class_row(model, lists, classes))]
        title = f"{classes} classes (tables 4 and {8 if classes == 3 else 9})"
        tables.append(Table(title, CLASS_COLUMNS, ([] if puppets or not rows else published_classes(classes)) + rows))
    return tables


def _known(rows: Sequence[Mapping]) -> list[Mapping]:
    return [row for row in rows if row.get("target") is not None]


def _named_class(row: Mapping, classes: int) -> str | None:
    """The class that a prediction names, ours or (as `label`) anyone else's; of a score, its class."""
    named = row.get("sentiment") or row.get("label")
    if named is not None:
        named = polarity_of_sentiment(named) if classes == 3 else named
        return named if named in SENTIMENTS[classes] else None
    return None if row.get("score") is None else sentiment_of(row["score"], classes)


def _too_coarse(rows: Sequence[Mapping], classes: int) -> bool:
    """Predictions among three classes, where five are asked for: known by their targets."""
    targets = {row.get("target_sentiment") or row.get("target_label") for row in rows} - {None}
    weak = any(0.1 < abs(np.float32(row["target"])) <= 0.7 for row in _known(rows))
    return classes == 5 and bool(targets) and weak and not any(name.startswith("Weakly") for name in targets)


def _row(model: str, found: Sequence[Sequence[float | None]]) -> Row:
    columns = list(zip(*found, strict=True))
    means = tuple(None if None in column else 100 * float(np.mean(column)) for column in columns)
    spread = tuple(
        None if None in column or len(found) < 2 else 100 * float(np.std(column, ddof=1)) for column in columns
    )
    return Row(model, means, spread, len(found))
