"""Label files as text, and csv files as rows by column name; every complaint names the file and line."""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from emsa_jax.errors import InputError

Needed = Sequence[str | tuple[str, ...]]  # columns that must be there; of a tuple, one


def read_text(path: Path) -> str:
    """The text of a label file in utf-8 (with or without a mark), utf-16 (with one) or gb18030.

    gb18030 spells almost any bytes, so it counts only where most of what it spells are common Chinese characters:
    Latin-1 is refused instead of garbled. Raises InputError where no encoding fits.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    reasons = []
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "gb18030"):
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            reasons.append(error)
            continue
        if encoding != "gb18030" or _is_chinese(text):
            break
    else:
        kind = path.suffix.lstrip(".") or "text"
        raise InputError(f"{path} is not a utf-8 {kind}, nor in utf-16 or gb18030 ({reasons[0]}); save it as utf-8")
    if "\0" in text:
        raise InputError(f"{path} is no text: it contains NUL characters")
    return text


def header(path: Path) -> list[str]:
    """The column names of a csv; InputError where it cannot be read."""
    return next(_lines(path))[1]


def rows(path: Path, needed: Needed, headerless: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, row) of each row, all cells strings, columns in any order; where is "<path> line N".

    headerless: the columns of a file that may begin with a row instead of their names. Cells are separated by
    commas, or by tabs or semicolons where the first line has more of those.
    """
    lines = _lines(path)
    where, names = next(lines)
    if len(names) == len(headerless) and not set(names) & set(headerless):
        lines, names = chain([(where, names)], lines), list(headerless)
    start = " ".join(",".join(names).split())[:100]  # a name in quotes may hold line breaks; a complaint is one line
    check_columns(needed, names, str(path), f"; its first line must name the columns (it reads: {start})")
    if any(name and names.count(name) > 1 for name in names):
        raise InputError(f"{path} names a column twice: {start}")
    for where, cells in lines:
        if not any(cells):
            continue
        if len(cells) != len(names):
            raise InputError(f"{where} has {len(cells)} cells, the header {len(names)}; quote cells with commas inside")
        yield where, dict(zip(names, cells, strict=True))


def check_columns(needed: Needed, names: Sequence[str], where: str, hint: str = "") -> None:
    """Raises InputError unless every column of `needed` is among `names`."""
    choices = [(name,) if isinstance(name, str) else name for name in needed]
    missing = [" or ".join(choice) for choice in choices if not set(choice) & set(names)]
    if missing:
        raise InputError(f"{where} lacks the column {', '.join(missing)}{hint}")


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    """(where, cells) of each line, the first stripped, as it may hold names; one at least."""
    text = read_text(path)
    first = text[: text.find("\n") + 1] or text
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",\t;", key=first.count), strict=True)
    try:
        yield f"{path} line 1", [cell.strip() for cell in next(reader, [])]
        for cells in reader:
            yield f"{path} line {reader.line_num}", cells
    except csv.Error as error:
        raise InputError(f"{path} is not a csv (near line {reader.line_num}: {error})") from error


def _is_chinese(text: str) -> bool:
    foreign = "".join(c for c in text if c > "\x7f")
    return len(foreign.encode("gb2312", errors="ignore")) / 2 >= 0.8 * len(foreign)
