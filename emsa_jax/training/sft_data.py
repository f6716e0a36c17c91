"""What the cold start learns: traces that passed the filter, or labels alone, as token ids."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.answers.labels import polarity_of
from emsa_jax.answers.recorded_traces import cap_traces, read_any_traces
from emsa_jax.answers.traces import Trace, filter_traces
from emsa_jax.data.batch_order import Plan, batch_at, boundary_at
from emsa_jax.data.length_buckets import choose_buckets
from emsa_jax.errors import InputError
from emsa_jax.learning.sft_update import SftBatch
from emsa_jax.parallel.batch_sharding import SINGLE_PROCESS, BatchSharding
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.tokenizer import plain_text
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.prompts import answer_ids, asks_of
from emsa_jax.runtime.console import say


def filtered_traces(
    train: Split, path: Path, max_per_class: int, seed: int, others: Mapping[str, str] | None = None
) -> dict[str, Trace]:
    """Train clip id -> trace that passed the filter, its score the true one. Says how many were dropped and why.

    path: of the teacher's traces. max_per_class: at most so many traces of each class, 0 for all; which ones, the seed
    decides. others: clip id -> its split, of clips that are not learned from, whose traces are counted as such. Raises
    InputError if none is left."""
    clips = {entry.id: entry for entry in train.entries}
    kept, rejected = filter_traces(read_any_traces(path), clips, train.prompter.format)
    splits = {id: (others or {}).get(id) for id in rejected}
    rejected |= {id: f"of a clip of {split}, which is not learned from" for id, split in splits.items() if split}
    reasons = {why: sum(r == why for r in rejected.values()) for why in sorted(set(rejected.values()))}
    say(
        f"traces: {len(kept)} kept, {len(rejected)} dropped"
        + "".join(f"; {count}: {why}" for why, count in reasons.items())
    )
    if not kept:
        raise InputError(f"{path}: no trace passed the filter; the cold start has nothing to learn from")
    if len(chosen := cap_traces(kept, max_per_class, seed)) < len(kept):
        say(f"traces: {len(chosen)} of them taken, at most {max_per_class} of a class")
    return {trace.id: trace for trace in chosen}


def label_targets(train: Split, neutral_eps: float) -> dict[str, Trace]:
    """Train clip id -> its label alone, for formats without reasoning. Raises InputError if no clip has a label."""
    entries = [entry for entry in train.entries if entry.score is not None]
    say(f"labels: {len(entries)} clips to learn from")
    if not entries:
        raise InputError("sft.targets: no clip of the training set has a label; there is nothing to learn from")
    return {e.id: Trace(e.id, polarity_of(e.score, neutral_eps), "", e.score) for e in entries}


def cue_targets(train: Split) -> dict[str, Trace]:
    """Train clip id -> a description of the cues that are known of it. Raises InputError if nothing is of any clip."""
    format, found = train.prompter.format, {}
    for entry in train.entries:
        truth = format.truth(entry)
        if truth and (text := format.describe(truth)):
            found[entry.id] = Trace(entry.id, truth.polarity, text, truth.score)
    say(f"cues: {len(found)} clips to learn from")
    if not found:
        raise InputError("sft.targets=cues: no clip has a label and a description or concepts to learn from")
    return found


def can_write(format: AnswerFormat, trace: Trace, asks: str) -> bool:
    """Whether a trace holds an answer to a question of some way."""
    try:
        format.about(asks).write(trace.polarity, trace.think, trace.score)
    except InputError:
        return False
    return True


def answer_table(checkpoint: Checkpoint, train: Split, traces: Mapping[str, Trace], limit: int) -> np.ndarray:
    """Answers of the split's clips as ids [clips, C] int32, -1 after the end token.

    limit: tokens that an answer may have. Raises InputError for a longer one."""
    format = train.prompter.format
    plain = functools.partial(plain_text, checkpoint.tokenizer, checkpoint.config)  # reasoning comes from outside
    rows = [
        answer_ids(checkpoint, format.about(asks_of(entry)).write(t.polarity, plain(t.think), t.score))
        for entry, t in ((entry, traces[entry.id]) for entry in train.entries)
    ]
    longest = max(map(len, rows))
    if longest > limit:
        raise InputError(f"sampling.max_completion_length is {limit}, but a trace has {longest} tokens")
    return padded(rows)


def padded(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Answers as one table [clips, C] int32, -1 after the end token."""
    table = np.full((len(rows), -(-max(map(len, rows)) // 8) * 8), -1, np.int32)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


_MULTIPLES = (64, 8)  # of which the slots of long answers and of short ones are multiples


def update_sizes(plan: Plan, total: int, answers: np.ndarray) -> list[tuple[int, int]]:
    """(prompt tokens, answer slots) that the batch of each of `total` steps is filled up to.

    answers: of the plan's clips, as `answer_table` gives them. The slots are few: those that save much of what the
    longest answers of all batches would take. A function of its arguments, and so the same on every process."""
    lengths = (answers >= 0).sum(1)
    longest = np.array([lengths[batch_at(plan, step)].max() for step in range(total)])
    edges = np.array(choose_buckets(longest, multiples=_MULTIPLES)).clip(max=answers.shape[1])
    slots = edges[np.searchsorted(edges, longest)].tolist()
    return [(boundary_at(plan, step), size) for step, size in enumerate(slots)]


def make_batch(
    train: Split,
    clips: Sequence,
    answers: np.ndarray,
    shape: InputShape,
    micro_batches: int,
    sharding: BatchSharding = SINGLE_PROCESS,
) -> SftBatch:
    """Host arrays of one update: this process's rows of each micro-batch.

    answers: of the split's clips, as `answer_table` gives them. shape: of the inputs of one shard of a micro-batch."""
    position = {(entry.id, asks_of(entry)): i for i, entry in enumerate(train.entries)}
    rows = answers[[position[clip.id, asks_of(clip)] for clip in clips]].reshape(micro_batches, -1, answers.shape[1])
    size = len(clips) // micro_batches
    parts = [clips[i * size : (i + 1) * size] for i in range(micro_batches)]
    inputs = [train.prompter.inputs(part, shape, size, sharding) for part in parts]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *inputs)
    return SftBatch(stacked, np.maximum(rows, 0), rows >= 0)
