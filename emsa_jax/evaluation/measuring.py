"""What a policy's answers to a data set are worth: a row for each clip, and the metrics of all of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emsa_jax.answers.answer_options import LabelOptions
from emsa_jax.data.records import Entry
from emsa_jax.evaluation.breakdowns import hardness
from emsa_jax.evaluation.classes import summarize_classes
from emsa_jax.evaluation.evaluation_options import EvaluateOptions
from emsa_jax.evaluation.journal import Answered
from emsa_jax.evaluation.paired import conditions_of
from emsa_jax.evaluation.predictions import prediction_rows, summarize
from emsa_jax.evaluation.result_files import read_predictions
from emsa_jax.learning.learning_options import GuardOptions
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import AnswerScorer, RewardTable
from emsa_jax.rewards.trigger import threshold
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.rollout_options import HintOptions, PromptOptions
from emsa_jax.runtime.console import say


@dataclass(frozen=True, kw_only=True)
class MeasureSettings:
    """The options of a run that measuring reads."""

    labels: LabelOptions
    prompt: PromptOptions
    reward: RewardOptions
    hint: HintOptions
    evaluate: EvaluateOptions
    guard: GuardOptions


def measure(
    settings: MeasureSettings,
    split: Split,
    answers: Mapping[str, Sequence[Answered]],
    *,
    train: Sequence[Entry],
    domain_train: Sequence[Entry],
    cold_start: Path,
) -> tuple[dict, list[dict]]:
    """(metrics, one row a clip) of a policy's answers to a data set.

    answers: of `kept_answers.answers_of`. train: the training clips that the policy learned from; domain_train:
    those of this data set. cold_start: the predictions file of the cold start, which may not exist.
    """
    options, format, neutral_eps = settings.evaluate, split.prompter.format, settings.labels.neutral_eps
    score_answers = AnswerScorer.of(format, settings.reward, train, modalities=settings.prompt.modalities)
    tables = {kind: _rewards(score_answers, split, given) for kind, given in answers.items()}
    kind = options.decode if options.decode in answers else "sampled"
    rows = prediction_rows(
        split.entries,
        [one.texts for one in answers[kind]],
        tables[kind],
        tables.get("sampled"),
        decode=options.decode,
        neutral_eps=neutral_eps,
        modalities=settings.prompt.modalities,
        format=format,
        scores=[one.scores for one in answers[kind]],
    )
    _note_hardness(settings, rows, format.label_part, cold_start)
    learned = [entry for entry in domain_train if entry.score is not None]
    score_range = split.manifest.score_range
    result = summarize(
        rows,
        score_range,
        options.fallback,
        neutral_eps,
        [entry.score for entry in learned],
        0 if format.classes else options.resamples,
    )
    if format.classes:
        result = summarize_classes(result, rows, format, learned, options.resamples)
    known = [row for row in rows if row["target"] is not None and "sampled_rewards" in row]
    rewards = [reward for row in known for reward in row["sampled_rewards"]]
    result |= {
        "decode": options.decode,
        "mean_sampled_reward": float(np.mean(rewards)) if rewards else None,
        "judged": conditions_of(rows, score_range, neutral_eps, options.fallback, format.classes),
    }
    return result, rows


def tell_unread(rows: Sequence[Mapping], data: str, limit: float) -> None:
    """Warns where more than a share `limit` of the answers names no score and no class that can be read."""
    unread = sum(row.get("score") is None and row.get("sentiment") is None for row in rows)
    if unread > limit * len(rows):
        notes = Counter(note for row in rows for note in row["notes"]).most_common(1)
        most = f", most often since {notes[0][0]}" if notes else ""
        say(
            f"warning: {unread} of {len(rows)} answers about {data} cannot be read{most}; ask as the policy was "
            "trained (format, prompt.modalities), raise sampling.max_completion_length, or train it longer"
        )


def _rewards(score_answers: AnswerScorer, split: Split, given: Sequence[Answered]) -> RewardTable:
    """What answers earn, for their expected scores where these were asked for."""
    expected = np.array([one.scores for one in given], np.float64) if given and given[0].scores else None
    ended = np.array([one.ended for one in given])
    return score_answers(split.entries, [one.texts for one in given], ended, expected=expected)


def _note_hardness(settings: MeasureSettings, rows: list[dict], label_part: str, cold_start: Path) -> None:
    """Notes how hard each clip is, by the rewards of the cold start's sampled answers; without a cold start, by those
    of the policy itself."""
    hint = settings.hint if settings.hint.metric == "total" else HintOptions()
    limit = threshold(hint, settings.reward, label_part)
    graded = {row["id"]: row for row in (read_predictions(cold_start) if cold_start.exists() else rows)}
    for row in rows:
        before = graded.get(row["id"], {})
        rewards = before.get("sampled_label_rewards") or before.get("sampled_rewards")
        if rewards and row["target"] is not None:
            row["about"]["hardness"] = hardness(rewards, limit)
