"""Answers that name a class of sentiment and concepts: what is kept of each, and what they are worth together."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.answers.concept_table import Concept
from emsa_jax.answers.labels import POLARITIES, SENTIMENTS, polarity_of_sentiment
from emsa_jax.evaluation.breakdowns import OTHERS
from emsa_jax.evaluation.classification import label_metrics, label_row
from emsa_jax.evaluation.resampling import intervals


def class_metrics(pred: Sequence[str | None], true: Sequence[str], classes: int) -> dict[str, float | int | None]:
    """ACC, WF1, WP, WR, F1, R, P of `SENTIMENTS[classes]`, unread predictions (None) always wrong; of five classes
    also those of the three that they merge into, as "3-class ACC" and so on; n and parse_rate."""
    result = _indexed(pred, true, SENTIMENTS[classes])
    if classes == 5:
        merged = _indexed(
            [p and polarity_of_sentiment(p) for p in pred], [polarity_of_sentiment(t) for t in true], SENTIMENTS[3]
        )
        result |= {f"3-class {name}": value for name, value in merged.items()}
    return result | {"n": len(true), "parse_rate": float(np.mean([p is not None for p in pred])) if pred else None}


def concept_metrics(rows: Sequence[Mapping], table: Sequence[Concept]) -> dict[str, dict[str, float | int | None]]:
    """Concept -> ACC, WF1, F1 and so on over the clips whose label is known, n; the mean of the accuracies as "mean",
    and "majority", the accuracy of always naming the commonest label of these clips."""
    found = {}
    for concept in table:
        known = [row for row in rows if concept.name in row["target_concepts"]]
        true = [row["target_concepts"][concept.name] for row in known]
        pred = [row["concepts"].get(concept.name) for row in known]
        most = max(Counter(true).values()) / len(true) if true else None
        found[concept.name] = _indexed(pred, true, concept.labels.known) | {"n": len(known), "majority": most}
    values = [m["ACC"] for m in found.values() if m["ACC"] is not None]
    return found | {"mean": {"ACC": float(np.mean(values)) if values else None}}


def summarize_classes(
    base: Mapping, rows: Sequence[Mapping], format: AnswerFormat, learned: Sequence, resamples: int = 0
) -> dict:
    """`base`, which is what `predictions.summarize` says of the rows, for answers that name a class.

    All that is measured on scores is None. `metrics` hold the classes' and the polarity's, `intervals` theirs; `labels`
    their confusion; `concepts` those of `concept_metrics`; `floor` is always naming the commonest class of `learned`,
    the labelled entries of the training set; `breakdowns` have the class's accuracy beside the polarity's.
    """
    known = [row for row in rows if row["target_sentiment"] is not None]
    result = dict(base) | {"controls": None, "row": None, "concepts": None}
    if not known:
        return result
    nothing = dict.fromkeys(base["metrics"])
    pred, true = [row["sentiment"] for row in known], [row["target_sentiment"] for row in known]
    result["metrics"] = nothing | _named(pred, true, format.classes)
    names = SENTIMENTS[format.classes]
    indices = [[names.index(name) if name in names else -1 for name in side] for side in (pred, true)]
    result["labels"] = label_row(*indices, len(names)) | {"classes": list(names)}
    if resamples:
        result["intervals"] = intervals(
            lambda at: _named([pred[i] for i in at], [true[i] for i in at], format.classes), len(known), resamples
        )
    if format.marked:
        result["concepts"] = concept_metrics(known, format.marked)
    if learned:
        counts = Counter(format.truth(entry).sentiment for entry in learned)
        commonest = max(names, key=lambda name: counts[name])
        result["floor"] = nothing | _named([commonest] * len(true), true, format.classes)
    result["breakdowns"] = {
        kind: {group: found | _of_group(known, kind, group) for group, found in groups.items() if group != OTHERS}
        for kind, groups in (base.get("breakdowns") or {}).items()
    }
    return result


def _of_group(rows: Sequence[Mapping], kind: str, group: str) -> dict:
    of = [row for row in rows if row["about"].get(kind) == group]
    return {
        "acc2": None,
        "mae": None,
        "corr": None,
        "parse_rate": _fraction([row["sentiment"] is not None for row in of]),
        "accuracy": _fraction([row["sentiment"] == row["target_sentiment"] for row in of]),
    }


def _named(pred: Sequence[str | None], true: Sequence[str], classes: int) -> dict:
    """Class metrics with the polarity's, under the names that other answers' metrics have."""
    polarity = _indexed(
        [p and polarity_of_sentiment(p) for p in pred], [polarity_of_sentiment(t) for t in true], POLARITIES
    )
    return class_metrics(pred, true, classes) | {
        "Polarity_acc": polarity["ACC"],
        "Polarity_UAR": polarity["R"],
        "Polarity_F1_macro": polarity["F1"],
        "Polarity_F1_weighted": polarity["WF1"],
    }


def _indexed(pred: Sequence[str | None], true: Sequence[str], names: Sequence[str]) -> dict[str, float | None]:
    index = {name: i for i, name in enumerate(names)}
    return label_metrics([index.get(p, -1) for p in pred], [index[t] for t in true], len(names))


def _fraction(values: Sequence[bool]) -> float | None:
    return float(np.mean(values)) if values else None
