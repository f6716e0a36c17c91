"""Hints: what is forced on hard groups, which groups are sampled again, and how their new answers take their place.

A hard group (all G answers fail) is sampled again after its true polarity, from the same prompt cache (MSA-Thinker and
C2F-Thinker, section III.B.3). The forced tokens stand in the first answer slots, outside loss, KL and length unless
the options say otherwise. Which row of which shard is sampled again is known in this module alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.answers.answer_format import AnswerFormat, Labelled
from emsa_jax.errors import InputError
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.prompts import hint_ids, label_tokens
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.rollout.sampler import Completions

FIELDS = ("tokens", "logps", "length", "ended", "forced")  # of Completions


@dataclass(frozen=True, kw_only=True)
class Redraw:
    """The prompts of this process that are sampled again at a step.

    size: prompts of each shard, by which `GrpoStep.hint` is chosen. arguments: of that program, after the noise.
    rows: [H] int, the prompts, counted from the first of this process. source: [H] int, the row of the new answers that
    each of them gets.
    """

    size: int
    arguments: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    rows: np.ndarray
    source: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What is forced, and when.

    ids [T, K] int32, lengths [T] int32: a row for each hint that can be given, and a last one for none.
    labels: [T, K] bool, the tokens of a polarity's name, without tags; none of answers that do not begin with one.
    rows: text of a hint -> row. format, level: what the hint of a clip is.
    prompts: of a step, on all processes. sizes: the numbers of prompts of each shard that programs exist for, rising.
    slots: C, the tokens that an answer can have, forced ones included.
    """

    options: HintOptions
    format: AnswerFormat | None
    level: str
    ids: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    rows: dict[str, int]
    prompts: int
    sizes: tuple[int, ...]
    slots: int

    @classmethod
    def of(
        cls,
        options: HintOptions,
        checkpoint: Checkpoint,
        train: Split,
        *,
        max_completion_length: int,
        prompts: int,
        shards: int = 1,
    ) -> Hints:
        """The hints that clips of a split can be given. prompts: of a step. shards: equal parts of them on the mesh.

        Raises InputError for a hint that does not fit into an answer, or that the tokenizer does not split as the
        beginning of an answer."""
        format = train.prompter.format
        used = options.mode == "hint" or options.polarity_nll > 0
        level = options.levels if options.mode == "hint" else next(iter(format.levels), "")
        # where answers begin with their label, its log-probability is measured without hints too
        truths = format.hinted_truths(train.entries) if used or format.label_first else []
        known = hint_ids(checkpoint, format, truths, level)
        width = max(map(len, known.values()), default=1)
        if known and width >= max_completion_length:
            raise InputError(
                f"sampling.max_completion_length is {max_completion_length}, but a hint alone has {width} tokens"
            )
        ids = np.full((len(known) + 1, width), checkpoint.config.pad_token_id, np.int32)
        for i, tokens in enumerate(known.values()):
            ids[i, : len(tokens)] = tokens
        labels, rows = np.zeros(ids.shape, bool), {hint: i for i, hint in enumerate(known)}
        for truth in truths if format.label_first else ():
            hint = format.hint(truth, level)
            marked = label_tokens(checkpoint, hint, truth.polarity)
            labels[rows[hint], : len(marked)] = marked
        return cls(
            options=options,
            format=format,
            level=level,
            ids=ids,
            lengths=np.array([*map(len, known.values()), 0], np.int32),
            labels=labels,
            rows=rows,
            prompts=prompts,
            sizes=redraw_sizes(prompts, shards),
            slots=max_completion_length,
        )

    def forced_like(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Arrays of the shapes that `forced` gives for so many clips."""
        return np.zeros((rows, self.ids.shape[1]), np.int32), np.zeros(rows, np.int32)

    def forced(self, clips: Sequence[Labelled]) -> tuple[np.ndarray, np.ndarray]:
        """(ids [N, K], lengths [N]) of the hints of clips; length 0 where there is none."""
        rows = self._rows(clips)
        return self.ids[rows], self.lengths[rows]

    def label_logp(self, clips: Sequence[Labelled], logps: np.ndarray) -> np.ndarray:
        """[N] natural logarithms: logps [N, K] of the forced tokens, summed over those of the true polarity's name; nan
        without a true score, or without such tokens."""
        marked = self.labels[self._rows(clips)]
        return np.where(marked.any(1), np.where(marked, logps, 0.0).sum(1), np.nan)

    def redraw(self, clips: Sequence[Labelled], hard: np.ndarray, sharding: BatchSharding) -> Redraw | None:
        """Which of the clips are asked again; None if no clip of any process is.

        clips: of this process. hard: [N] bool, theirs."""
        forced, lengths = self.forced(clips)
        hard = sharding.all_gather(hard & (lengths > 0), "hard groups")
        chosen = choose_hinted(hard, self.options)
        if not len(chosen):
            return None
        packed = compact(chosen, self.prompts, sharding.num_shards, self.sizes)
        first = sharding.group * sharding.local_shards
        packed, each = packed[first : first + sharding.local_shards], self.prompts // sharding.num_shards
        size, given = packed.shape[1], (packed + each * np.arange(len(packed))[:, None]).reshape(-1)
        limit = np.full(len(given), self.slots, np.int32)
        local = sharding.local_rows(self.prompts)
        rows = chosen[(chosen >= local.start) & (chosen < local.stop)] - local.start
        shard = rows // each
        return Redraw(
            size=size,
            arguments=(packed.reshape(-1), forced[given], lengths[given], limit),
            rows=rows,
            source=shard * size + np.arange(len(rows)) - np.searchsorted(shard, shard),
        )

    def _rows(self, clips: Sequence[Labelled]) -> list[int]:
        truths = [self.format.truth(clip) if self.rows else None for clip in clips]
        return [self.rows[self.format.hint(truth, self.level)] if truth else -1 for truth in truths]


def redraw_sizes(prompts: int, shards: int = 1) -> tuple[int, ...]:
    """The compiled sizes, rising, of each of the equal shards of a step's prompts: a quarter of them, and all."""
    each = prompts // shards
    return tuple(sorted({max(each // 4, 1), each}))


def choose_hinted(hard: np.ndarray, options: HintOptions) -> np.ndarray:
    """Rows [H] of the hard groups that are hinted. hard: bool [N]."""
    return np.flatnonzero(hard) if options.mode == "hint" else np.zeros(0, np.int64)


def compact(rows: np.ndarray, prompts: int, shards: int, sizes: tuple[int, ...]) -> np.ndarray:
    """[shards, size] int32: the rows of each shard, counted from its first, in the smallest size that holds the rows of
    every shard. Free places repeat the first row of the shard; a shard without rows has row 0.

    rows: of a whole batch of `prompts`, rising. The size is the same for all shards and on every process, and prompts
    stay where their cache is.
    """
    each = prompts // shards
    found = [rows[rows // each == shard] - shard * each for shard in range(shards)]
    size = next(s for s in sizes if s >= max(map(len, found)))
    padded = [np.concatenate([r, np.full(size - len(r), r[0] if len(r) else 0)]) for r in found]
    return np.stack(padded).astype(np.int32)


def prompt_rows(rows: jax.Array, prompts: int, shards: int) -> tuple[jax.Array, jax.Array]:
    """(rows as `PromptState.take` wants them, [shards * size] int32 which prompt of the step each is).

    rows: [shards * size] int32, those of each shard counted from its first, as `compact` gives them."""
    if shards == 1:
        return rows, rows
    rows = rows.reshape(shards, -1)
    return rows, (rows + prompts // shards * jnp.arange(shards, dtype=jnp.int32)[:, None]).reshape(-1)


def apply_hints(
    original: Completions, hinted: Completions, rows: np.ndarray, source: np.ndarray | None = None
) -> Completions:
    """The completions with hinted answers in place of the last ones of `rows`. Host arrays in and out.

    source: which rows of `hinted` they are (default: its first ones)."""
    count = hinted.tokens.shape[1]
    source = np.arange(len(rows)) if source is None else source
    fields = {}
    for name in FIELDS:
        value = np.array(getattr(original, name))
        value[rows, -count:] = np.asarray(getattr(hinted, name))[source]
        fields[name] = value
    return Completions(**fields)


def loss_mask(completions: Completions, options: HintOptions) -> np.ndarray:
    """bool [N, G, C]: tokens that were drawn (and, if asked for, forced ones): they carry loss, KL and length."""
    slots = np.arange(completions.tokens.shape[-1])
    mask = slots < np.asarray(completions.length)[..., None]
    return mask if options.loss_on_hint else mask & (slots >= np.asarray(completions.forced)[..., None])
