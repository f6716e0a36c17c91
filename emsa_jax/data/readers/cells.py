"""Checks of single cells. `where` is the file and line, for messages, and takes what is guessed; every function raises
InputError."""

import json
import math
import re

from emsa_jax.data.labels_csv import Where
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")  # or three decimals
_CLOCK = re.compile(r"([0-9]{1,3}):(?:([0-9]{1,2}):)?([0-9]{1,2}(?:[.,][0-9]+)?)")  # h:mm:ss or m:ss
_UNIT = re.compile(r"([^ ]+?) ?(ms|msec|s|sec|seconds)")
_REWRITTEN = re.compile(r"[0-9]([.,][0-9]+)?[eE]\+[0-9]+")  # how a spreadsheet shows a long number
_DATE = re.compile(r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}|[0-9]{1,2}-[A-Za-z]{3}|[A-Za-z]{3}-[0-9]{1,4}")
_SIGNS = str.maketrans("０１２３４５６７８９＋－．，−–﹣\u00a0", "0123456789+-.,--- ")
_UNSEEN = " \t\r\n\u00a0\ufeff\u200b\u200e\u200f\u2060"  # what stands around a cell that was copied
_NO_SCORE = ("none", "null", "nan", "na", "n/a", "-", "--", "?", "unknown")
_NO_CLASS = ("null", "nan", "n/a", "-", "--", "?")  # "none" may be the name of a class
_NO_PATH = ("none", "null", "nan", "n/a")
_LIKELY_NONE = (-10.0, -99.0, -100.0, -999.0, -9999.0, 99.0, 999.0, 9999.0)
_SPLIT_WORDS = {
    word: split
    for split, words in {
        "train": ("train", "training"),
        "valid": ("valid", "val", "validation", "dev"),
        "test": ("test", "testing", "eval", "evaluation"),
    }.items()
    for word in words
}


def split_of(mode: str, where: Where) -> str:
    """One of SPLITS; other usual names of them are noted."""
    word = mode.strip(_UNSEEN).lower()
    if word not in _SPLIT_WORDS:
        raise InputError(f"{where}: mode {mode!r} is none of {', '.join(SPLITS)}")
    if word not in SPLITS:
        where.guess(f"mode {word} was read as {_SPLIT_WORDS[word]}")
    return _SPLIT_WORDS[word]


def split_in_name(stem: str, otherwise: str) -> str:
    """The split that a file's name speaks of ("dfew_train", "val.2", "test3"), if just one."""
    splits = {_SPLIT_WORDS[word] for word in re.split(r"[\W_\d]+", stem.lower()) if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else otherwise


def number_of(cell: str, name: str, where: Where, largest: float = math.inf) -> float:
    """A finite number. Its digits may be of full width, and its point a comma; `1,234`, which may be 1234 too, only
    where that is above `largest`."""
    given, cell = cell.strip(), _bare(cell.translate(_SIGNS))
    if cell != given and (_NUMBER.fullmatch(cell) or _DECIMAL_COMMA.fullmatch(cell)):
        where.guess("signs and digits that are no ASCII, or marks around a number, were read as that number")
    if _DECIMAL_COMMA.fullmatch(cell):
        if _THOUSANDS.fullmatch(cell) and abs(float(cell.replace(",", ""))) <= largest:
            raise InputError(f"{where}: {name} {given!r} has two meanings; write {cell.replace(',', '.')} or without ,")
        where.guess("a decimal comma was read as a point")
        cell = cell.replace(",", ".")
    number = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    if not math.isfinite(number):
        hint = "; a spreadsheet seems to have made a date of it" if _DATE.fullmatch(cell) else ""
        raise InputError(f"{where}: {name} {given!r} is not a number{hint}")
    return number


def score_of(
    cell: str,
    score_range: tuple[float, float],
    where: Where,
    name: str = "label",
    none: float | None = None,
) -> float | None:
    """The score inside `score_range`; None for an empty cell, a word that says so, or the number `none`."""
    if not cell.strip():
        return None
    if cell.strip().lower() in _NO_SCORE:
        where.guess(f"{name} {cell.strip().lower()} was read as none")
        return None
    if re.fullmatch(r"[^\W\d_][^\d]*", cell.strip()) and cell.strip().lower() not in ("inf", "infinity"):
        raise InputError(
            f"{where}: {name} {cell.strip()!r} is not a number but a word; {name} holds the score, "
            "and the name of a class goes into a column class"
        )
    lo, hi = score_range
    score = number_of(cell, name, where, largest=max(abs(lo), abs(hi)))
    if lo <= score <= hi:
        return score
    if score == none:
        where.guess(f"{name} {none:g}, which stands for none, was read as none")
        return None
    hint = "; if it stands for none, leave the cell empty" if score in _LIKELY_NONE else ""
    raise InputError(
        f"{where}: {name} {cell.strip()} lies outside the score range [{lo:g}, {hi:g}]; correct it, or name the "
        f"labels' own range with --config.score_range (of a second set: --config.cross.score_range){hint}"
    )


def class_of(cell: str, name: str, where: Where) -> str:
    """The name of a class; "" for an empty cell, and for a word or number that stands for none."""
    label = cell.strip()
    number = float(label.translate(_SIGNS)) if _NUMBER.fullmatch(label.translate(_SIGNS)) else 0.0
    if label.lower() in _NO_CLASS or number in _LIKELY_NONE:
        where.guess(f"{name} {label.lower()} was read as none")
        return ""
    return label


def is_no_path(cell: str) -> bool:
    """Whether a cell in the place of a path says that there is none."""
    return cell.lower() in _NO_PATH


def known_score_of(cell: str, split: str, score_range: tuple[float, float], where: Where) -> float | None:
    """As `score_of`; a cell without a score is legal in the test split only."""
    score = score_of(cell, score_range, where)
    if score is None and split != "test":
        what = f"{cell.strip()!r} is not a number, that is, none" if cell.strip() else "is empty"
        raise InputError(f"{where}: label {what}, which only rows of mode test may be")
    return score


def language_of(language: str, where: Where | str) -> str:
    if language not in ("en", "zh"):
        raise InputError(f"{where}: language {language!r} is neither 'en' nor 'zh'")
    return language


def id_of(cell: str, column: str, where: Where) -> str:
    """A cell that names a clip, without what stands around it. One that a spreadsheet has rewritten as 1E+05, so that
    what it was is lost, is refused."""
    name = _bare(cell)
    if name != cell.strip():
        where.guess(f"unseen characters or an apostrophe around {column} were left out")
    if _REWRITTEN.fullmatch(name):
        raise lost_id(name, column, where)
    return name


def lost_id(name: str, column: str, where: Where) -> InputError:
    """The error for a name that a spreadsheet has rewritten."""
    return InputError(
        f"{where}: {column} {name!r} is a number that a spreadsheet has rewritten; what it was is lost: take it from "
        "the original file, and import the column as text"
    )


def is_rewritten(name: str) -> bool:
    """Whether a name has the form that a spreadsheet gives to a long number."""
    return bool(_REWRITTEN.fullmatch(name))


def whole_number(name: str) -> int | None:
    """The whole number that a name spells, also as 2.0 or 1E+05; None for other names."""
    if not re.fullmatch(r"[0-9]{1,18}(\.0+)?", name) and not is_rewritten(name):
        return None
    number = float(name.replace(",", ".")) if not name.isdecimal() else int(name)
    return int(number) if number == int(number) and number < 2**53 else None


def whole_of(name: str, column: str, where: Where) -> str:
    """A numbered name without the decimals that a spreadsheet gave it: 2 for 2.0."""
    if re.fullmatch(r"[0-9]{1,18}\.0+", name):
        where.guess(f"{column} 2.0 was read as 2, and others of this form likewise")
        return name.partition(".")[0]
    return name


def name_of(cell: str, column: str, where: Where) -> str:
    """A cell that becomes part of a path: one name, no folder."""
    name = _bare(cell)
    if name != cell.strip():
        where.guess(f"unseen characters or an apostrophe around {column} were left out")
    if not name or name in (".", "..") or any(c in name for c in "/\\\0"):
        hint = "" if name else "; of merged cells, only the first holds the value: fill the others"
        date = "; a spreadsheet seems to have made a date of it" if _DATE.fullmatch(name) else ""
        raise InputError(f"{where}: {column} {cell!r} is not a file name{hint}{date}")
    return name


def times_of(start: str, end: str, where: Where) -> tuple[float, float | None]:
    """(start, end) in seconds; empty cells are the file's own start and end, and so is a start before 0."""
    first = _seconds(start, "start", where) if start.strip() else 0.0
    last = _seconds(end, "end", where) if end.strip() else None
    if first < 0:
        where.guess("a start before 0 s was read as 0 s")
        first = 0.0
    if last is not None and last <= first:
        raise InputError(f"{where}: a clip from {start or 0} to {end} seconds has no length")
    return first, last


def _seconds(cell: str, name: str, where: Where) -> float:
    """A time in seconds, with its unit perhaps, or as h:mm:ss or m:ss."""
    if clock := _CLOCK.fullmatch(cell.strip()):
        first, second, rest = clock.groups()
        seconds = float(rest.replace(",", "."))
        if seconds >= 60 or second and int(second) >= 60:
            raise InputError(
                f"{where}: {name} {cell.strip()!r} is no time: 60 minutes are an hour, and 60 seconds a minute"
            )
        where.guess(f"{name} with colons was read as hours, minutes and seconds")
        return 60.0 * (60 * int(first) + int(second) if second else int(first)) + seconds
    if unit := _UNIT.fullmatch(cell.strip()):
        where.guess(f"{name} with a unit was read as such: ms, s")
        return number_of(unit[1], name, where) / (1000 if unit[2].startswith("m") else 1)
    return number_of(cell, name, where)


def _bare(cell: str) -> str:
    """A cell without what stands around it: space, characters of no width, the apostrophe that makes a text of it."""
    return cell.strip(_UNSEEN).removeprefix("'").strip(_UNSEEN)


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
