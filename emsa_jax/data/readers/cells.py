"""Checks of single cells. `where` is the file and line, for messages; every function raises InputError."""

import json
import math
import re

from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_SPLIT_WORDS = {
    word: split
    for split, words in {
        "train": ("train", "training"),
        "valid": ("valid", "val", "validation", "dev"),
        "test": ("test", "testing", "eval", "evaluation"),
    }.items()
    for word in words
}


def split_of(mode: str, where: str) -> str:
    split = mode.strip().lower()
    if split not in SPLITS:
        raise InputError(f"{where}: mode {mode!r} is none of {', '.join(SPLITS)}")
    return split


def split_in_name(stem: str, otherwise: str) -> str:
    """The split that a file's name speaks of ("dfew_train", "val.2", "test3"), if just one."""
    splits = {_SPLIT_WORDS[word] for word in re.split(r"[\W_\d]+", stem.lower()) if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else otherwise


def number_of(cell: str, name: str, where: str) -> float:
    """A finite number in ASCII digits."""
    cell = cell.strip()
    number = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    if not math.isfinite(number):
        raise InputError(f"{where}: {name} {cell!r} is not a number")
    return number


def score_of(cell: str, score_range: tuple[float, float], where: str, name: str = "label") -> float | None:
    """The score inside `score_range`; None for an empty cell."""
    if not cell.strip():
        return None
    score, (lo, hi) = number_of(cell, name, where), score_range
    if not lo <= score <= hi:
        raise InputError(
            f"{where}: {name} {cell.strip()} lies outside the score range [{lo:g}, {hi:g}]; "
            "correct it or give the data set's own range"
        )
    return score


def known_score_of(cell: str, split: str, score_range: tuple[float, float], where: str) -> float | None:
    """As `score_of`; an empty cell is legal in the test split only."""
    score = score_of(cell, score_range, where)
    if score is None and split != "test":
        raise InputError(f"{where}: label is empty, which only rows of mode test may be")
    return score


def language_of(language: str, where: str) -> str:
    if language not in ("en", "zh"):
        raise InputError(f"{where}: language {language!r} is neither 'en' nor 'zh'")
    return language


def name_of(cell: str, column: str, where: str) -> str:
    """A cell that becomes part of a path: one name, no folder."""
    name = cell.strip()
    if not name or name in (".", "..") or any(c in name for c in "/\\\0"):
        raise InputError(f"{where}: {column} {cell!r} is not a file name")
    return name


def times_of(start: str, end: str, where: str) -> tuple[float, float | None]:
    """(start, end) in seconds; empty cells are the file's own start and end."""
    first = number_of(start, "start", where) if start.strip() else 0.0
    last = number_of(end, "end", where) if end.strip() else None
    if first < 0 or last is not None and last <= first:
        raise InputError(f"{where}: a clip from {start or 0} to {end} seconds has no length")
    return first, last


def concepts_of(cell: str, where: str) -> tuple[tuple[str, str], ...]:
    """(name, value) pairs of `{"tone": "happy", "style": "vlog"}` or `tone=happy; style=vlog`."""
    cell = cell.strip()
    if not cell:
        return ()
    try:
        pairs = json.loads(cell).items() if cell.startswith("{") else [p.split("=", 1) for p in cell.split(";")]
        pairs = tuple((name.strip(), value.strip()) for name, value in pairs)
    except (ValueError, AttributeError, RecursionError):
        pairs = ()
    if not pairs or not all(name and value for name, value in pairs) or len(dict(pairs)) < len(pairs):
        raise InputError(f"{where}: concepts {cell[:80]!r} are neither `name=value; ...` nor a json object of texts")
    return pairs
