"""What is forced on hard groups, and when, for one policy and one run."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np

from emsa_jax.answers.formats import CLASS_FORMATS
from emsa_jax.answers.labels import POLARITIES, polarity_of
from emsa_jax.errors import InputError
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.rewards.reward_table import sample_of, truth_of
from emsa_jax.rewards.trigger import threshold
from emsa_jax.rollout.hints import bucket_sizes
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.prompts import answer_ids, hint_ids, label_tokens
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.settings.config import Config


@dataclass(frozen=True)
class Hints:
    """What is forced and when. ids [T, K] and lengths [T] int32, a row for each truth that can be told; labels [T, K]
    bool: the tokens of a polarity's name, tags left out (none of answers with concepts, which do not begin with one);
    truth: what is to be told of a clip, None without a label; rows: truth -> row; slots: C, answer slots;
    plain_limit: tokens after which a plain answer is cut off; buckets: sizes of each part of a batch."""

    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    truth: Callable[..., Hashable | None]
    rows: dict[Hashable, int]
    slots: int
    plain_limit: int
    buckets: tuple[int, ...]
    trigger: HintOptions
    threshold: float

    @classmethod
    def of(cls, config: Config, checkpoint: Checkpoint, train: Split, shards: int = 1) -> Hints:
        options, budget = config.hint, config.sampling.max_completion_length
        used = options.mode == "hint" or options.polarity_nll > 0
        format = train.prompter.format
        if format.name in CLASS_FORMATS:
            truth = functools.partial(_class_truth, format)
            truths = dict.fromkeys(filter(None, map(truth, train.entries))) if used else ()
            known = class_hint_ids(checkpoint, format, truths, options.levels[0])
        else:
            truth = functools.partial(_polarity, neutral_eps=config.labels.neutral_eps)
            known = hint_ids(checkpoint, format, options.template, POLARITIES) if used or format.name == "dc" else {}
        width = max(map(len, known.values()), default=1)
        if known and width >= budget:
            raise InputError(f"sampling.max_completion_length is {budget}, but a hint alone has {width} tokens")
        ids = np.full((len(known) + 1, width), checkpoint.config.pad_token_id, np.int32)  # the last row: nothing
        for i, told in enumerate(known.values()):
            ids[i, : len(told)] = told
        lengths = np.array([*map(len, known.values()), 0], np.int32)
        labels = np.zeros(ids.shape, bool)
        for i, told in enumerate(known if format.name not in CLASS_FORMATS else ()):
            marked = label_tokens(checkpoint, format, options.template, told)
            labels[i, : len(marked)] = marked
        part = "accuracy" if format.name in CLASS_FORMATS else "polarity"
        return cls(
            ids,
            lengths,
            labels,
            truth,
            {told: i for i, told in enumerate(known)},
            budget + (0 if options.count_in_budget else width),
            budget,
            bucket_sizes(options, config.grpo.prompts_per_step, shards),
            options,
            threshold(options, config.reward, part),
        )

    def forced_like(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrays of the shapes that `forced` gives."""
        return np.zeros((rows, self.ids.shape[1]), np.int32), np.zeros(rows, np.int32)

    def forced(self, clips) -> tuple[np.ndarray, np.ndarray]:
        """(ids [N, K], lengths [N]) of what is true of the clips; length 0 where nothing is known or told."""
        rows = self._rows(clips)
        return self.ids[rows], self.lengths[rows]

    def label_logp(self, clips, logps: np.ndarray) -> np.ndarray:
        """[N] natural logarithms: logps [N, K] of the forced tokens, summed over those of the true polarity's name; nan
        without a true score, or without such tokens."""
        marked = self.labels[self._rows(clips)]
        return np.where(marked.any(1), np.where(marked, logps, 0.0).sum(1), np.nan)

    def _rows(self, clips) -> list[int]:
        return [self.rows.get(self.truth(clip), -1) for clip in clips]


def class_hint_ids(checkpoint: Checkpoint, format, truths, level: str) -> dict[Hashable, list[int]]:
    """truth -> ids of the forced beginning of an answer with concepts.

    Raises: InputError where they are not the first ids of such an answer, as `rollout.prompts.hint_ids`."""
    found = {}
    for truth in truths:
        ids = answer_ids(checkpoint, format.hint(truth, level), end=False)
        if answer_ids(checkpoint, format.example(truth, level), end=False)[: len(ids)] != ids:
            raise InputError(
                f"hint.levels: {format.hint(truth, level)!r} is not how the tokenizer lets an answer begin"
            )
        found[truth] = ids
    return found


def _polarity(clip, neutral_eps: float) -> str | None:
    return None if clip.score is None else polarity_of(clip.score, neutral_eps)


def _class_truth(format, clip):
    return truth_of(format, sample_of(clip))
