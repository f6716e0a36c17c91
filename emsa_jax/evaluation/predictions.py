"""Predictions as rows, one a clip, and what they are worth together."""

from collections.abc import Mapping, Sequence

import numpy as np

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.answers.labels import POLARITIES, polarity_of
from emsa_jax.data.records import Entry
from emsa_jax.data.views import modalities as modalities_of
from emsa_jax.evaluation.breakdowns import about, breakdowns
from emsa_jax.evaluation.classification import label_row
from emsa_jax.evaluation.controls import score_controls
from emsa_jax.evaluation.explanations import claims_row, explanations
from emsa_jax.evaluation.reasoning import reasoning_checks
from emsa_jax.evaluation.resampling import intervals
from emsa_jax.evaluation.sentiment_metrics import family_of, regression_metrics, score_row
from emsa_jax.evaluation.vote import Verdict, combine
from emsa_jax.rewards.score_answers import RewardTable

SIGNS = tuple(reversed(POLARITIES))  # from negative to positive, as classes 0, 1, 2


def prediction_rows(
    entries: Sequence[Entry],
    texts: Sequence[Sequence[str]],
    table: RewardTable,
    sampled: RewardTable | None,
    *,
    decode: str,
    neutral_eps: float,
    modalities: Sequence[str],
    format: AnswerFormat,
    scores: Sequence[Sequence[float | None]] = (),
) -> list[dict]:
    """One row a clip for the file of predictions.

    texts[n][g]: the answers that the verdict is made of, whose rewards are in `table`; sampled: those of the sampled
    answers. scores[n][g]: their expected scores, which then count in place of those that they have. modalities: those
    that the policy was given, as far as a clip has them. format: adds the fields of `AnswerFormat.row_fields`.
    """
    rows = []
    for n, entry in enumerate(entries):
        answers = table.parsed[n]
        if scores and scores[n]:
            answers = [
                answer if score is None else format.with_score(answer, score)
                for answer, score in zip(answers, scores[n], strict=True)
            ]
        verdict: Verdict = combine(answers, decode, neutral_eps)
        g = verdict.chosen
        parsed = answers[g]
        row = {
            "id": entry.id,
            "text": entry.text,
            "target": entry.score,
            "target_polarity": None if entry.score is None else polarity_of(entry.score, neutral_eps),
            "polarity": verdict.polarity,
            "score": verdict.score,
            "think": parsed.think,
            "well_formed": parsed.well_formed,
            "notes": list(parsed.notes),
            "answer": texts[n][g],
            "rewards": {name: _number(part[n, g]) for name, part in table.parts.items()}
            | {"total": _number(table.total[n, g])},
            "about": about(entry),
            "seconds": round(entry.seconds, 2),
            "shown": [name for name in modalities_of(entry) if name in modalities],
        }
        if sampled is not None:
            row["sampled_rewards"] = [_number(reward) for reward in sampled.total[n]]
            if sampled.claims.any():  # how hard a clip is goes by the label
                row["sampled_label_rewards"] = [_number(reward) for reward in sampled.total[n] - sampled.claims[n]]
        if format.has_reasoning:
            row["claims"] = claims_row(parsed, entry, row["shown"], format.score_range, neutral_eps)
        if entry.label:
            row["target_label"] = entry.label
        rows.append(row | format.row_fields(parsed, format.truth(entry)))
    return rows


def summarize(
    rows: Sequence[Mapping],
    score_range: tuple[float, float],
    fallback: str,
    neutral_eps: float,
    train_scores: Sequence[float],
    resamples: int = 0,
) -> dict:
    """What predictions come to: `metrics` (regression_metrics), `row` (score_row), `polarity` (label_row over
    `SIGNS`), `rewards`, `intervals` of `metrics` (with `resamples`), `controls`, `floor` (the constant mean),
    `breakdowns`, `reasoning`, `claims` (explanations). None where no clip has a score."""
    known = [row for row in rows if row["target"] is not None]
    answered = [row for row in rows if "well_formed" in row]  # all rows of a policy, none of a csv of predictions
    result = {
        "clips": len(rows),
        "format_rate": float(np.mean([row["well_formed"] for row in answered])) if answered else None,
        "metrics": None,
        "rewards": None,
        "floor": None,
        "reasoning": reasoning_checks(answered, neutral_eps) if answered else None,
        "claims": explanations(answered, resamples),
    }
    if not known:  # clips without labels: answers are written, nothing can be measured
        return result
    family = family_of(score_range)
    truth = np.array([row["target"] for row in known], np.float32)
    scores, named = [row["score"] for row in known], [row["polarity"] for row in known]

    def measure(pred: Sequence[float | None], true: np.ndarray, polarities: Sequence[str | None] | None = None) -> dict:
        return regression_metrics(pred, true, family, fallback, polarities, neutral_eps)

    result["metrics"] = measure(scores, truth, named)
    result["row"] = score_row(scores, truth, family, fallback=fallback)
    classes = [
        [SIGNS.index(name) if name in SIGNS else -1 for name in names]
        for names in (named, [row["target_polarity"] for row in known])
    ]
    result["polarity"] = label_row(*classes, len(SIGNS)) | {"classes": list(SIGNS)}
    if answered:
        rewards = [row["rewards"] for row in known]
        result["rewards"] = {name: _mean([reward[name] for reward in rewards]) for name in rewards[0]}
    if resamples:
        result["intervals"] = intervals(
            lambda at: measure([scores[i] for i in at], truth[at], [named[i] for i in at]), len(known), resamples
        )
    prior = np.asarray(train_scores, np.float32)

    def measure_pairs(
        pred: Sequence, true: np.ndarray
    ) -> dict:  # the polarity that an answer names is shuffled together with its score
        pairs = [one if isinstance(one, tuple) else (one, polarity_of(one, neutral_eps)) for one in pred]
        return measure([score for score, _ in pairs], true, [polarity for _, polarity in pairs])

    result["controls"] = score_controls(list(zip(scores, named, strict=True)), truth, measure_pairs, prior)
    if len(prior):
        result["floor"] = result["controls"]["constant"]
    result["breakdowns"] = breakdowns(known, family, fallback, neutral_eps)
    return result


def summarize_labels(pred: Sequence[int], true: Sequence[int], classes: Sequence[str], resamples: int = 0) -> dict:
    """The same for class predictions, -1 where unread; classes: their names in order."""
    pred, true = np.asarray(pred, int), np.asarray(true, int)
    result = {"clips": len(true), "labels": label_row(pred, true, len(classes)) | {"classes": list(classes)}}
    if resamples:
        result["intervals"] = intervals(lambda at: label_row(pred[at], true[at], len(classes)), len(true), resamples)
    return result


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]  # a part of the user's own need not apply to all
    return float(np.mean(found)) if found else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
