"""What the csv readers share: rows by header, and cells checked with the file and line in every complaint."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")


def header(path: Path) -> list[str]:
    """The column names of a csv; InputError where it cannot be read."""
    with _open(path) as file:
        try:
            return [name.strip() for name in next(csv.reader(file), [])]
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not a utf-8 csv ({error})") from error


def rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, row) of each row, all cells strings. `where` is "<path> line N", for messages."""
    with _open(path) as file:
        reader = csv.reader(file)
        try:
            names = [name.strip() for name in next(reader, [])]
            missing = [name for name in needed if name not in names]
            if missing:
                raise InputError(
                    f"{path} lacks the column {', '.join(missing)}; its first line must "
                    f"name the columns (it reads: {','.join(names)[:100]})"
                )
            if len(set(names)) < len(names):
                raise InputError(f"{path} names a column twice: {','.join(names)[:100]}")
            for cells in reader:
                if not cells:
                    continue
                where = f"{path} line {reader.line_num}"
                if len(cells) != len(names):
                    raise InputError(
                        f"{where} has {len(cells)} cells, the header {len(names)}; "
                        "quote cells that contain commas"
                    )
                yield where, dict(zip(names, cells, strict=True))
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not a utf-8 csv (near line {reader.line_num}: {error})") from error


def split_of(mode: str, where: str) -> str:
    split = mode.strip().lower()
    if split not in SPLITS:
        raise InputError(f"{where}: mode {mode!r} is none of {', '.join(SPLITS)}")
    return split


def score_of(label: str, split: str, score_range: tuple[float, float], where: str) -> float | None:
    """The label as a number inside `score_range`; empty is None, in the test split only."""
    label = label.strip()
    if not label:
        if split == "test":
            return None
        raise InputError(f"{where}: label is empty, which only rows of mode test may be")
    if not _NUMBER.fullmatch(label):
        raise InputError(f"{where}: label {label!r} is not a number")
    score, (lo, hi) = float(label), score_range
    if not lo <= score <= hi:
        raise InputError(
            f"{where}: label {label} lies outside the score range [{lo:g}, {hi:g}]; "
            "correct it or give the data set's own range"
        )
    return score


def language_of(language: str, where: str) -> str:
    if language not in ("en", "zh"):
        raise InputError(f"{where}: language {language!r} is neither 'en' nor 'zh'")
    return language


class UniqueIds:
    """Remembers where each id was first seen; a second sight is an InputError naming both."""

    def __init__(self):
        self._seen: dict[str, str] = {}

    def add(self, id_: str, where: str) -> str:
        if not id_:
            raise InputError(f"{where}: the id is empty")
        if id_ in self._seen:
            raise InputError(f"{where}: id {id_!r} was already given at {self._seen[id_]}")
        self._seen[id_] = where
        return id_


def _open(path: Path):
    try:
        return open(path, encoding="utf-8-sig", newline="")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
