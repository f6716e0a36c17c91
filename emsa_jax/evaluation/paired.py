"""Two policies' answers to the same clips, measured under the same conditions: how they differ, and how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emsa_jax.config.edge import digest
from emsa_jax.evaluation.classes import class_metrics
from emsa_jax.evaluation.resampling import compare
from emsa_jax.evaluation.sentiment_metrics import family_of, regression_metrics

Rows = Sequence[Mapping[str, Any]]


def conditions_of(
    rows: Rows, score_range: tuple[float, float], neutral_eps: float, fallback: str, classes: int = 0
) -> dict:
    """The conditions that two results must have in common to be paired: the same clips and labels ("clips", a hash),
    and the same way of measuring. rows: of predictions. classes: how many classes answers name, 0 for scores."""
    targets = {row["id"]: row["target"] for row in rows}
    scores = sorted((id, None if score is None else float(np.float32(score))) for id, score in targets.items())
    scored = any(score is not None for score in targets.values())
    return {
        "clips": digest(scores),
        "family": family_of(score_range) if scored else None,
        "classes": classes,
        "neutral_eps": neutral_eps,
        "fallback": fallback,
    }


@dataclass(frozen=True)
class Evaluated:
    """A policy's answers to a data set. conditions: of `conditions_of`; rows: one a clip."""

    conditions: Mapping[str, Any]
    rows: Rows

    def differences(self, other: Evaluated) -> list[str]:
        """The conditions in which the two differ."""
        return [key for key, value in self.conditions.items() if other.conditions.get(key) != value]


def paired(first: Evaluated, second: Evaluated, resamples: int) -> dict[str, dict | None]:
    """Metric -> `resampling.compare` of first - second; {} where no clip has a label, or the rows hold neither a score
    nor a class of ours. The two must have been measured under the same conditions."""
    conditions, by_id = first.conditions, {row["id"]: row for row in second.rows}
    classes = conditions["classes"]
    field, target = ("sentiment", "target_sentiment") if classes else ("score", "target")
    pairs = [(row, by_id[row["id"]]) for row in first.rows if row.get(target) is not None]
    if not pairs or not all(field in row for pair in pairs for row in pair):
        return {}

    def measure(pred: Sequence, true: np.ndarray) -> dict:
        if classes:
            return class_metrics(pred, list(true), classes)
        return regression_metrics(
            [score for score, _ in pred],
            true,
            conditions["family"],
            conditions["fallback"],
            [polarity for _, polarity in pred],
            conditions["neutral_eps"],
        )

    def given(row: Mapping) -> Any:
        return row[field] if classes else (row[field], row.get("polarity"))

    true = np.array([row[target] for row, _ in pairs], object if classes else np.float32)
    return compare(measure, [given(a) for a, _ in pairs], [given(b) for _, b in pairs], true, resamples)
