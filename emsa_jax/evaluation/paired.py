"""Two policies' answers to the same clips, judged alike: what differs between them, and how surely."""

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


def judged_as(
    rows: Rows, score_range: tuple[float, float], neutral_eps: float, fallback: str, classes: int = 0
) -> dict:
    """What two results must share to be paired: the same clips and labels ("clips", a hash), judged alike. rows: of
    predictions. classes: that answers name, 0 for scores."""
    targets = {row["id"]: row["target"] for row in rows}
    told = sorted((id, None if score is None else float(np.float32(score))) for id, score in targets.items())
    scored = any(score is not None for score in targets.values())
    return {
        "clips": digest(told),
        "family": family_of(score_range) if scored else None,
        "classes": classes,
        "neutral_eps": neutral_eps,
        "fallback": fallback,
    }


@dataclass(frozen=True)
class Judged:
    """A policy's answers to a data set. judged: of `judged_as`; rows: one a clip."""

    judged: Mapping[str, Any]
    rows: Rows

    def apart(self, other: Judged) -> list[str]:
        """In what the two were not judged alike."""
        return [key for key, value in self.judged.items() if other.judged.get(key) != value]


def paired(first: Judged, second: Judged, resamples: int) -> dict[str, dict | None]:
    """Metric -> `resampling.compare` of first - second; {} where no clip has a label, or the rows hold neither a score
    nor a class of ours. The two must have been judged alike."""
    judged, by_id = first.judged, {row["id"]: row for row in second.rows}
    classes = judged["classes"]
    said, target = ("sentiment", "target_sentiment") if classes else ("score", "target")
    pairs = [(row, by_id[row["id"]]) for row in first.rows if row.get(target) is not None]
    if not pairs or not all(said in row for pair in pairs for row in pair):
        return {}

    def measure(pred, true):
        if classes:
            return class_metrics(pred, list(true), classes)
        return regression_metrics(
            [score for score, _ in pred],
            true,
            judged["family"],
            judged["fallback"],
            [polarity for _, polarity in pred],
            judged["neutral_eps"],
        )

    def given(row):
        return row[said] if classes else (row[said], row.get("polarity"))

    true = np.array([row[target] for row, _ in pairs], object if classes else np.float32)
    return compare(measure, [given(a) for a, _ in pairs], [given(b) for _, b in pairs], true, resamples)
