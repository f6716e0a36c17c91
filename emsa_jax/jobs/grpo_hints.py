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
from emsa_jax.rollout.prompts import hint_ids


@dataclass(frozen=True)
class Hints:
    """What is forced and when. ids [3, K] and lengths [3] int32 by polarity; slots: C, answer slots; plain_limit:
    tokens after which an answer without a hint is cut off; buckets: sizes of each part of a batch."""

    ids: np.ndarray
    lengths: np.ndarray
    slots: int
    plain_limit: int
    buckets: tuple[int, ...]
    trigger: TriggerOptions
    threshold: float
    neutral_eps: float

    @classmethod
    def of(cls, config: Config, checkpoint: Checkpoint, train: Split, shards: int = 1) -> Hints:
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
        trigger = TriggerOptions(options.metric, options.threshold, options.trigger_fraction, options.truncated_as_fail)
        return cls(ids, lengths, budget + (0 if options.count_in_budget else width), budget,
                   bucket_sizes(options, config.grpo.prompts_per_step, shards), trigger,
                   threshold(trigger, config.reward), config.labels.neutral_eps)

    def forced_like(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrays of the shapes that `forced` gives."""
        return np.zeros((rows, self.ids.shape[1]), np.int32), np.zeros(rows, np.int32)

    def forced(self, clips) -> tuple[np.ndarray, np.ndarray]:
        """(ids [N, K], lengths [N]) of the clips' true polarities; length 0 without a true score."""
        rows = [POLARITIES.index(polarity_of(clip.score, self.neutral_eps)) if clip.score is not None else -1
                for clip in clips]
        lengths = np.where(np.array(rows) >= 0, self.lengths[rows], 0)
        return self.ids[rows], lengths.astype(np.int32)
