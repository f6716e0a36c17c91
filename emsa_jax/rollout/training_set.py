"""The training set of a run: its own clips, or those of several sets of records mixed by weight."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from emsa_jax.answers.scores import carry
from emsa_jax.data.data_options import MixOptions
from emsa_jax.data.mixture import Mixed, Part
from emsa_jax.data.records import Clip, Entry
from emsa_jax.errors import InputError
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.rollout.prompted_data import QuestionOptions, Split, open_split

Item = TypeVar("Item", Clip, Entry)


class TrainOptions(QuestionOptions, Protocol):
    """How the clips of the training set are asked about, and which other sets are mixed in."""

    mix: MixOptions


def open_train(options: TrainOptions, records: Path, checkpoint: Checkpoint, ids: set[str] | None = None) -> Split:
    """The clips to learn from (only `ids`), those of `options.mix.data` among them.

    All are asked about in the first set's score range, and their scores carried over into it; each keeps its
    language. Raises InputError for an id that two sets share."""
    first = open_split(options, records, checkpoint, "train", ids=ids)
    if not options.mix.data:
        return first
    splits = [first] + [
        _carried(open_split(options, Path(directory), checkpoint, "train", ids=ids), first)
        for directory in options.mix.data
    ]
    entries = [entry for split in splits for entry in split.entries]
    shared = [id for id, count in Counter(entry.id for entry in entries).items() if count > 1]
    if shared:
        raise InputError(
            f"mix.data: clip {shared[0]!r} and {len(shared) - 1} more are in two of the sets; prepare one "
            "of them without its share"
        )
    weights = options.mix.weights or [len(split) for split in splits]
    parts = tuple(
        Part(str(name), len(split), float(weight), split.manifest.digest)
        for name, split, weight in zip((records, *options.mix.data), splits, weights, strict=True)
    )
    lengths = np.concatenate([split.lengths for split in splits])
    return replace(
        first, entries=entries, lengths=lengths, source=Mixed(splits), order=np.arange(len(entries)), parts=parts
    )


@dataclass(frozen=True)
class _Carried(Split):
    """Clips with their scores in another range."""

    target: tuple[float, float] = (-1.0, 1.0)

    def __getitem__(self, index: int) -> Clip:
        return carried(super().__getitem__(index), self.manifest.score_range, self.target)


def _carried(split: Split, first: Split) -> Split:
    source, target = split.manifest.score_range, first.manifest.score_range
    entries = [carried(entry, source, target) for entry in split.entries]
    lengths = np.array([first.prompter.length(entry) for entry in entries])
    return _Carried(split.manifest, first.prompter, entries, lengths, split.source, split.order, target=target)


def carried(item: Item, source: tuple[float, float], target: tuple[float, float]) -> Item:
    """A Clip or Entry with its score carried from one range into another."""
    return item if item.score is None else replace(item, score=carry(item.score, source, target))
