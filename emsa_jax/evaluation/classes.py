"""Answers that name a class of sentiment and concepts: what is kept of each, and what they are worth together."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from emsa_jax.answers.formats import CLASS_FORMATS
from emsa_jax.answers.labels import POLARITIES, SENTIMENTS, polarity_of_sentiment
from emsa_jax.evaluation.metrics import label_metrics
from emsa_jax.rewards.table import sample_of, truth_of

GROUPS = ("scenario", "interaction")  # that results are broken down by


def class_fields(format, entry, parsed) -> dict:
    """Further fields of a prediction's row: the groups that a clip is of; for answers that name a class, what they
    name and what is true."""
    given = dict(entry.concepts)
    groups = {name: given[name] for name in GROUPS if name in given}
    if getattr(format, "name", None) not in CLASS_FORMATS:
        return groups
    truth = truth_of(format, sample_of(entry))
    return groups | {
        "sentiment": parsed.sentiment, "target_sentiment": truth and truth.sentiment,
        "concepts": dict(parsed.concepts), "target_concepts": dict(truth.concepts) if truth else {},
    }  # fmt: skip


def class_metrics(pred: Sequence[str | None], true: Sequence[str], classes: int) -> dict[str, float | int | None]:
    """ACC, WF1, WP, WR, F1, R, P of `SENTIMENTS[classes]`, unread predictions (None) always wrong; of five classes
    also those of the three that they merge into, as "3-class ACC" and so on; n and parse_rate."""
    result = _indexed(pred, true, SENTIMENTS[classes])
    if classes == 5:
        merged = _indexed([p and polarity_of_sentiment(p) for p in pred], [polarity_of_sentiment(t) for t in true],
                          SENTIMENTS[3])
        result |= {f"3-class {name}": value for name, value in merged.items()}
    return result | {"n": len(true), "parse_rate": float(np.mean([p is not None for p in pred])) if pred else None}


def concept_metrics(rows: Sequence[Mapping], table) -> dict[str, dict[str, float | int | None]]:
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


def summarize_classes(rows: Sequence[Mapping], format, learned: Sequence) -> dict:
    """The counterpart of `predict.summarize`. learned: labelled entries of the training set, for the floor: always
    naming their commonest class."""
    known = [row for row in rows if row["target_sentiment"] is not None]
    result = {"clips": len(rows), "format_rate": float(np.mean([row["well_formed"] for row in rows])),
              "metrics": None, "rewards": None, "floor": None, "concepts": None}
    if not known:
        return result
    true = [row["target_sentiment"] for row in known]
    result["metrics"] = _named([row["sentiment"] for row in known], true, format.classes)
    rewards = {name: [row["rewards"][name] for row in known] for name in known[0]["rewards"]}
    result["rewards"] = {name: _mean(values) for name, values in rewards.items()}
    if format.name == "concepts":
        result["concepts"] = concept_metrics(known, format.table)
    if learned:
        counts = Counter(format.truth(entry.score, ()).sentiment for entry in learned)
        commonest = max(SENTIMENTS[format.classes], key=lambda name: counts[name])
        result["floor"] = _named([commonest] * len(true), true, format.classes)
    return result


def _named(pred: Sequence[str | None], true: Sequence[str], classes: int) -> dict:
    """Class metrics with the polarity's, under the names that other answers' metrics have."""
    polarity = _indexed([p and polarity_of_sentiment(p) for p in pred], [polarity_of_sentiment(t) for t in true],
                        POLARITIES)
    return class_metrics(pred, true, classes) | {"Polarity_acc": polarity["ACC"], "Polarity_UAR": polarity["R"],
                                                 "Polarity_F1_weighted": polarity["WF1"]}


def _indexed(pred: Sequence[str | None], true: Sequence[str], names: Sequence[str]) -> dict[str, float | None]:
    index = {name: i for i, name in enumerate(names)}
    return label_metrics([index.get(p, -1) for p in pred], [index[t] for t in true], len(names))


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else None
