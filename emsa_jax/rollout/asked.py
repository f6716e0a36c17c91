"""Clips that are asked about in several ways: about both branches, what is seen alone, what is heard alone (XEmoGPT,
section IV, stage 3). Media are shown all the same; the instruction says which of them it is about."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from emsa_jax.data.records import Clip, Entry
from emsa_jax.data.views import modalities
from emsa_jax.errors import InputError
from emsa_jax.policy.prompt_row import ASKS
from emsa_jax.rollout.prompted_data import Split

_Asked = TypeVar("_Asked", "AskedClip", "AskedEntry")
NEEDS = {"visual": "video", "audio": "audio"}  # what a question is about -> the modality that it needs


@dataclass(frozen=True)
class AskedClip(Clip):
    """A clip with what is asked about it, one of `prompt_row.ASKS`."""

    asks: str = ASKS[0]


@dataclass(frozen=True)
class AskedEntry(Entry):
    """The entry of a clip with what is asked about it."""

    asks: str = ASKS[0]


@dataclass(frozen=True)
class AskedSplit(Split):
    """asks: of each clip, what is asked about it."""

    asks: tuple[str, ...] = ()

    def __getitem__(self, index: int) -> AskedClip:
        return _of(AskedClip, super().__getitem__(index), self.asks[index])


def asked_ways(split: Split, ways: Sequence[str], learns: Callable[[Entry, str], bool]) -> Split:
    """Every clip of a split once for each way that it can be asked about.

    Args:
      ways: some of `prompt_row.ASKS`.
      learns: (a clip's entry, a way) -> whether there is an answer to it.

    Raises: InputError for a mixture, and for a way in which no clip can be asked about.
    """
    if tuple(ways) == ASKS[:1]:
        return split
    if split.parts:
        raise InputError("sft.asks: a mixture (mix.data) is asked about in one way; leave one of them out")
    places: list[int] = []
    asks: list[str] = []
    for way in ways:
        found = [i for i, entry in enumerate(split.entries) if _has(entry, way, split) and learns(entry, way)]
        if not found:
            raise InputError(f"sft.asks: no clip has {NEEDS.get(way, 'media')} and an answer about it; leave {way} out")
        places, asks = places + found, asks + [way] * len(found)
    entries = [_of(AskedEntry, split.entries[i], way) for i, way in zip(places, asks, strict=True)]
    lengths = np.array([split.prompter.length(entry) for entry in entries])
    given = {field.name: getattr(split, field.name) for field in fields(Split)}
    changed = dict(entries=entries, lengths=lengths, order=split.order[np.array(places)])
    return AskedSplit(**given | changed, asks=tuple(asks))


def _has(entry: Entry, way: str, split: Split) -> bool:
    shown: Collection[str] = set(modalities(entry)) & set(split.prompter.options.modalities)
    return way not in NEEDS or NEEDS[way] in shown


def _of(kind: type[_Asked], item: Clip | Entry, asks: str) -> _Asked:
    return kind(**{field.name: getattr(item, field.name) for field in fields(kind) if field.name != "asks"}, asks=asks)
