"""Votes, and what they decide: a majority for each concept, the mean for sentiment (CH-CEMS, section 3.2)."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emsa_jax.data import labels_csv
from emsa_jax.data.readers.cells import number_of
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_json

COLUMNS = ("item", "annotator", "field", "value")
SENTIMENT = "sentiment"
POLARITIES = ("-1", "0", "1")
# columns of labels.csv, and of clips
RESERVED = (
    "item",
    "score",
    "class3",
    "class5",
    "split",
    "label",
    "mode",
    "id",
    "video_id",
    "clip_id",
    "text",
    "speaker",
    "concepts",
)
MOST_VALUES = 1000  # of one field: more are free text, whose agreement nobody could compute


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
        table, place = np.zeros((len(self.items), len(values)), int), {value: j for j, value in enumerate(values)}
        for i, item in enumerate(self.items):
            for value in given.get(item, ()):
                table[i, place[value]] += 1
        return table, values


def read_votes(
    path: str | Path,
    merge: Mapping[str, Mapping[str, str]] | None = None,
    spellings: Mapping[str, Callable[[str], str | None]] | None = None,
) -> Votes:
    """The votes of a csv with the columns item, annotator, field, value. merge: field -> value -> the value that it
    counts as, for classes too sparse to keep. spellings: field -> what reads one of its labels however it is spelled
    (None: it is none of them, and kept as it is), so that one label in two spellings is one.

    Raises InputError naming file and line: an empty cell, one with a line break or control character, a sentiment
    other than -1, 0 or 1, a known field in another case, a second vote of an annotator on the same field of an item,
    an item without a vote on sentiment; and for a field with over 1,000 values, and no votes at all.
    """
    merge, spellings = merge or {}, spellings or {}
    known = {name.lower(): name for name in (SENTIMENT, *spellings)}
    seen: dict[tuple[str, str, str], str] = {}
    votes: dict[str, dict[str, list[str]]] = {SENTIMENT: {}}
    items: dict[str, str] = {}
    for where, row in labels_csv.rows(Path(path), COLUMNS):
        item, annotator, field, value = (row[name].strip() for name in COLUMNS)
        for name in COLUMNS:
            if not row[name].strip():
                raise InputError(f"{where}: {name} is empty")
            if any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in row[name].strip()):
                raise InputError(f"{where}: {name} has a line break or control character: {row[name].strip()!r}")
        if known.get(field.lower(), field) != field:
            raise InputError(f"{where}: field {field!r} must be written {known[field.lower()]!r}")
        if field in RESERVED:
            raise InputError(f"{where}: field {field!r} is the name of a column of labels or clips; call it otherwise")
        if field == SENTIMENT:
            value = _polarity(value, where)
        else:
            value = spelled(field, value, spellings)
            value = merge.get(field, {}).get(value, value)
        key = (item, annotator, field)
        if key in seen:
            raise InputError(f"{where}: {annotator!r} has voted on {field} of {item!r} already ({seen[key]})")
        seen[key] = where
        items.setdefault(item, where)
        votes.setdefault(field, {}).setdefault(item, []).append(value)
    if not items:
        raise InputError(f"{path} has no votes")
    for field, by_item in votes.items():
        if (many := len({value for given in by_item.values() for value in given})) > MOST_VALUES:
            raise InputError(
                f"{path}: field {field!r} has {many} different values, which are no labels; take it out, or merge them"
            )
    for item, where in items.items():
        if item not in votes[SENTIMENT]:
            raise InputError(
                f"{where}: item {item!r} has no vote on sentiment, and so no score; add some, or take its votes out"
            )
    frozen = {field: {item: tuple(given) for item, given in by_item.items()} for field, by_item in votes.items()}
    return Votes(tuple(items), frozen)


def read_merge(path: str | Path, spellings: Mapping[str, Callable] | None = None) -> dict[str, dict[str, str]]:
    """{"speaking_style": {"Scientific exposition": "General Narrative Exposition"}} from a JSON file, labels spelled as
    `spellings` (field -> reader of its labels) do. InputError where a label counts as one that counts as another."""
    content = read_json(path, "config.merge")
    fields = content.values() if isinstance(content, dict) else [None]
    if not all(
        isinstance(table, dict) and all(isinstance(v, str) and v.strip() for v in table.values()) for table in fields
    ):
        raise InputError(f"config.merge: {path} must be an object of objects: field -> label -> the label it counts as")
    if SENTIMENT in content:
        raise InputError(f"config.merge: {path}: votes on sentiment are numbers, which are averaged, not merged")
    merge = {}
    for field, table in content.items():
        found = {
            spelled(field, a.strip(), spellings or {}): spelled(field, b.strip(), spellings or {})
            for a, b in table.items()
        }
        for label, target in found.items():
            if found.get(target, target) != target:
                raise InputError(
                    f"config.merge: {path}: {field} {label!r} counts as {target!r}, which counts as "
                    f"{found[target]!r}; name the last one for both"
                )
        merge[field] = found
    return merge


def spelled(field: str, value: str, spellings: Mapping[str, Callable[[str], str | None]]) -> str:
    """A label as the table of its field spells it; as it is where that does not know it, or there is none."""
    return (spellings[field](value) if field in spellings else None) or value


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
    try:
        number = number_of(value, "value", where)
    except InputError:
        number = None
    if number not in (-1, 0, 1):
        raise InputError(f"{where}: a vote on sentiment is -1, 0 or 1, not {value!r}")
    return str(int(number))
