"""What is forced on hard groups, and when, for one policy and one run."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emsa_jax.answers.labels import POLARITIES, polarity_of
from emsa_jax.errors import InputError
from emsa_jax.jobs.datasets import Split
from emsa_jax.jobs.options import Config
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.rewards.trigger import TriggerOptions, threshold
from emsa_jax.rollout.hints import bucket_sizes
from emsa_jax.rollout.prompts import hint_ids, label_tokens


@dataclass(frozen=True)
class Hints:
    """What is forced and when. ids [3, K] and lengths [3] int32 by polarity; labels [3, K] bool: the tokens of the
    polarity's name, tags left out; slots: C, answer slots; limits: tokens
    after which a plain and a hinted answer of each polarity are cut off."""

    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    slots: int
    plain_limit: int
    buckets: tuple[int, ...]
    trigger: TriggerOptions
    threshold: float
    neutral_eps: float

    @classmethod
    def of(cls, config: Config, checkpoint: Checkpoint, train: Split) -> Hints:
        options, budget = config.hint, config.sampling.max_completion_length
        used = options.mode == "hint" or options.polarity_nll > 0
        format = train.prompter.format
        known = hint_ids(checkpoint, format, options.template, POLARITIES) if used or format.name == "dc" else {}
        width = max(map(len, known.values()), default=1)
        if known and width >= budget:
            raise InputError(f"sampling.max_completion_length is {budget}, but a hint alone has {width} tokens")
        ids = np.full((len(POLARITIES), width), checkpoint.config.pad_token_id, np.int32)
        for i, polarity in enumerate(POLARITIES):
            ids[i, : len(known.get(polarity, ()))] = known.get(polarity, ())
        lengths = np.array([len(known.get(p, ())) for p in POLARITIES], np.int32)
        labels = np.zeros(ids.shape, bool)
        for i, polarity in enumerate(POLARITIES if known else ()):
            marked = label_tokens(checkpoint, format, options.template, polarity)
            labels[i, : len(marked)] = marked
        trigger = TriggerOptions(options.metric, options.threshold, options.trigger_fraction, options.truncated_as_fail)
        return cls(ids, lengths, labels, budget + (0 if options.count_in_budget else width), budget,
                   bucket_sizes(options, config.grpo.prompts_per_step), trigger, threshold(trigger, config.reward),
                   config.labels.neutral_eps)

    def forced_like(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrays of the shapes that `forced` gives."""
        return np.zeros((rows, self.ids.shape[1]), np.int32), np.zeros(rows, np.int32)

    def forced(self, clips) -> tuple[np.ndarray, np.ndarray]:
        """(ids [N, K], lengths [N]) of the clips' true polarities; length 0 without a true score."""
        rows = self._rows(clips)
        lengths = np.where(np.array(rows) >= 0, self.lengths[rows], 0)
        return self.ids[rows], lengths.astype(np.int32)

    def label_logp(self, clips, logps: np.ndarray) -> np.ndarray:
        """[N] natural logarithms: logps [N, K] of the forced tokens, summed over those of the true polarity's name; nan
        without a true score, or without such tokens."""
        rows = self._rows(clips)
        marked = self.labels[rows] & (np.array(rows) >= 0)[:, None]
        return np.where(marked.any(1), np.where(marked, logps, 0.0).sum(1), np.nan)

    def _rows(self, clips) -> list[int]:
        return [POLARITIES.index(polarity_of(clip.score, self.neutral_eps)) if clip.score is not None else -1
                for clip in clips]
