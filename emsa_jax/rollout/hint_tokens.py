"""What is forced on hard groups, and when, for one policy and one run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.errors import InputError
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.rewards.trigger import Trigger
from emsa_jax.rollout.hints import bucket_sizes
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.prompts import hint_ids, label_tokens
from emsa_jax.settings.config import Config


@dataclass(frozen=True)
class Hints:
    """What is forced and when. ids [T, K] and lengths [T] int32, a row for each hint that can be given and a last one
    for none; labels [T, K] bool: the tokens of a polarity's name, tags left out (none of answers that do not begin with
    one); rows: text of a hint -> row; format, level: what the hint of a clip is; slots: C, answer slots;
    plain_limit: tokens after which a plain answer is cut off; buckets: sizes of each part of a batch; trigger: which
    groups are hard."""

    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    rows: dict[str, int]
    format: AnswerFormat
    level: str
    slots: int
    plain_limit: int
    buckets: tuple[int, ...]
    trigger: Trigger

    @classmethod
    def of(cls, config: Config, checkpoint: Checkpoint, train: Split, shards: int = 1) -> Hints:
        options, budget = config.hint, config.sampling.max_completion_length
        used = options.mode == "hint" or options.polarity_nll > 0
        format = train.prompter.format
        level = options.levels if options.mode == "hint" else next(iter(format.levels), "")
        # where answers begin with their label, its log-probability is measured without hints too
        truths = format.hinted_truths(train.entries) if used or format.label_first else []
        known = hint_ids(checkpoint, format, truths, level)
        width = max(map(len, known.values()), default=1)
        if known and width >= budget:
            raise InputError(f"sampling.max_completion_length is {budget}, but a hint alone has {width} tokens")
        ids = np.full((len(known) + 1, width), checkpoint.config.pad_token_id, np.int32)
        for i, tokens in enumerate(known.values()):
            ids[i, : len(tokens)] = tokens
        lengths = np.array([*map(len, known.values()), 0], np.int32)
        labels, rows = np.zeros(ids.shape, bool), {hint: i for i, hint in enumerate(known)}
        for truth in truths if format.label_first else ():
            hint = format.hint(truth, level)
            marked = label_tokens(checkpoint, hint, truth.polarity)
            labels[rows[hint], : len(marked)] = marked
        return cls(
            ids,
            lengths,
            labels,
            rows,
            format,
            level,
            budget,
            budget,
            bucket_sizes(config.grpo.prompts_per_step, shards),
            Trigger.of(options, config.reward, format),
        )

    def forced_like(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrays of the shapes that `forced` gives."""
        return np.zeros((rows, self.ids.shape[1]), np.int32), np.zeros(rows, np.int32)

    def forced(self, clips) -> tuple[np.ndarray, np.ndarray]:
        """(ids [N, K], lengths [N]) of what is true of the clips; length 0 where nothing is known, or nothing hinted
        at."""
        rows = self._rows(clips)
        return self.ids[rows], self.lengths[rows]

    def label_logp(self, clips, logps: np.ndarray) -> np.ndarray:
        """[N] natural logarithms: logps [N, K] of the forced tokens, summed over those of the true polarity's name; nan
        without a true score, or without such tokens."""
        marked = self.labels[self._rows(clips)]
        return np.where(marked.any(1), np.where(marked, logps, 0.0).sum(1), np.nan)

    def _rows(self, clips) -> list[int]:
        truths = [self.format.truth(clip) if self.rows else None for clip in clips]
        return [self.rows[self.format.hint(truth, self.level)] if truth else -1 for truth in truths]
