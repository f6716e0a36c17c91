"""Votes, and what they decide: a majority for each concept, the mean for sentiment (CH-CEMS, section 3.2)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emsa_jax.data import labels_csv
from emsa_jax.data.readers.cells import number_of
from emsa_jax.errors import InputError

COLUMNS = ("item", "annotator", "field", "value")
SENTIMENT = "sentiment"
POLARITIES = ("-1", "0", "1")
RESERVED = ("item", "score", "class3", "class5", "split", "label", "mode")


@dataclass(frozen=True)
class Votes:
    """Items in the order of their first vote. votes: field -> item -> the values that its annotators gave, in the
    order of the file; those of `SENTIMENT` are "-1", "0" and "1"."""

    items: tuple[str, ...]
    votes: Mapping[str, Mapping[str, tuple[str, ...]]]

    @property
    def concepts(self) -> tuple[str, ...]:
        """The fields that are voted on beside sentiment, in the order of the file."""
        return tuple(field for field in self.votes if field != SENTIMENT)

    def counts(self, field: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """(int [items, values] votes for each value; the values, sentiment's from the most negative)."""
        given = self.votes[field]
        values = POLARITIES if field == SENTIMENT else tuple(sorted({v for votes in given.values() for v in votes}))
        table = np.zeros((len(self.items), len(values)), int)
        for i, item in enumerate(self.items):
            for value in given.get(item, ()):
                table[i, values.index(value)] += 1
        return table, values


def read_votes(path: str | Path, merge: Mapping[str, Mapping[str, str]] | None = None) -> Votes:
    """The votes of a csv with the columns item, annotator, field, value. merge: field -> value -> the value that it
    counts as, for classes too sparse to keep.

    Raises InputError naming file and line: an empty cell, a sentiment other than -1, 0 or 1, a second vote of an
    annotator on the same field of an item, an item without a vote on sentiment, or no votes at all.
    """
    merge = merge or {}
    seen: dict[tuple[str, str, str], str] = {}
    votes: dict[str, dict[str, list[str]]] = {SENTIMENT: {}}
    items: dict[str, str] = {}
    for where, row in labels_csv.rows(Path(path), COLUMNS):
        item, annotator, field, value = (row[name].strip() for name in COLUMNS)
        for name in COLUMNS:
            if not row[name].strip():
                raise InputError(f"{where}: {name} is empty")
        if field in RESERVED:
            raise InputError(f"{where}: field {field!r} is the name of a column of labels.csv; call it another way")
        if field == SENTIMENT:
            value = _polarity(value, where)
        else:
            value = merge.get(field, {}).get(value, value)
        key = (item, annotator, field)
        if key in seen:
            raise InputError(f"{where}: {annotator!r} has voted on {field} of {item!r} already ({seen[key]})")
        seen[key] = where
        items.setdefault(item, where)
        votes.setdefault(field, {}).setdefault(item, []).append(value)
    if not items:
        raise InputError(f"{path} has no votes")
    for item, where in items.items():
        if item not in votes[SENTIMENT]:
            raise InputError(f"{where}: item {item!r} has no vote on sentiment, and so no score; add some, or take its "
                             "votes out")
    frozen = {field: {item: tuple(given) for item, given in by_item.items()} for field, by_item in votes.items()}
    return Votes(tuple(items), frozen)


def majority(votes: Iterable[str], least: int = 3) -> str | None:
    """The value with at least `least` votes and more than any other; None: back to the annotators."""
    ranked = Counter(votes).most_common(2)
    if not ranked or ranked[0][1] < least or (len(ranked) > 1 and ranked[1][1] == ranked[0][1]):
        return None
    return ranked[0][0]


def score(votes: Iterable[str]) -> float:
    """The mean of votes "-1", "0" and "1", as float32 labels hold it: a multiple of 0.2 for five of them."""
    values = [int(vote) for vote in votes]
    return round(sum(values) / len(values), 6) + 0.0


def _polarity(value: str, where: str) -> str:
    number = number_of(value, "value", where)
    if number not in (-1, 0, 1):
        raise InputError(f"{where}: a vote on sentiment is -1, 0 or 1, not {value}")
    return str(int(number))
