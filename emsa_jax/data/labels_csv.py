"""Label files as text, and csv files as rows by column name; every complaint names the file and line."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from emsa_jax.errors import InputError

Needed = Sequence[str | tuple[str, ...]]  # columns that must be there; of a tuple, one
SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers")
_SIGNATURES = {  # what files begin with that are no text, whatever their names say
    b"PK\x03\x04": "an Excel workbook or another zip archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed (gzip)",
    b"PAR1": "a parquet file",
}
_ERROR_VALUE = re.compile(r"#[A-ZÄÖÜ/0-9]+[!?]|#N/?A|#NV|#{3,}")  # of a formula, in the languages of spreadsheets
_FORMULA_TEXT = re.compile(r'="([^"]*)"')  # how a spreadsheet is kept from changing 0002
_UNSEEN = "\ufeff\u200b\u200e\u200f\u2060"  # characters of no width, which copying leaves behind
_WINDOWS = {chr(n): bytes([n]).decode("cp1252", "ignore") or chr(n) for n in range(0x80, 0xA0)}
_WINDOWS_SIGNS = re.compile("[\x80-\x9f]")  # control characters, where Windows has quotation marks


@dataclass(frozen=True)
class Where:
    """A file and line (or entry), as messages name it. guesses: what was guessed of it, a sentence each."""

    name: str
    guesses: list[str] = field(default_factory=list)

    def guess(self, what: str) -> None:
        """Notes a guess. Guesses of one kind have the same words, so that they can be counted."""
        if what not in self.guesses:
            self.guesses.append(what)

    def __str__(self) -> str:
        return self.name


def read_text(path: Path) -> str:
    """The text of a label file in utf-8 (with or without a mark), utf-16 (with one) or gb18030.

    gb18030 spells almost any bytes, so it counts only where most of what it spells are common Chinese characters:
    Latin-1 is refused instead of garbled. Raises InputError where no encoding fits.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    for signature, kind in _SIGNATURES.items():
        if data.startswith(signature):
            raise InputError(f"{path} is {kind}, not text; save it as csv (utf-8) and name that file")
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


def rows(
    path: Path, needed: Needed, headerless: Sequence[str] = (), optional: Sequence[str] = ()
) -> Iterator[tuple[Where, dict[str, str]]]:
    """(where, row) of each row, all cells strings, columns in any order; where is "<path> line N".

    headerless: the columns of a file that may begin with a row instead of their names. optional: further columns that
    are read where they are there. Cells are separated by
    commas, or by tabs or semicolons where the first line has more of those. What spreadsheets do to a table is undone
    where that is certain, and noted in `where`; an error value (#NAME?) in a column that is read is an InputError.
    """
    lines = _lines(path)
    where, names = next(lines)
    if len(names) == len(headerless) and not set(names) & set(headerless):
        lines, names = chain([(where, names)], lines), list(headerless)
    start = " ".join(",".join(names).split())[:100]  # a name in quotes may hold line breaks; a complaint is one line
    check_columns(needed, names, str(path), f"; its first line must name the columns (it reads: {start})")
    if any(name and names.count(name) > 1 for name in names):
        raise InputError(f"{path} names a column twice: {start}")
    used = {name for choice in needed for name in ((choice,) if isinstance(choice, str) else choice)} | {*optional}
    for where, cells in lines:
        if not any(cell.strip(_UNSEEN).strip() for cell in cells):
            continue
        row = dict(zip(names, _fitted([_mended(cell, where) for cell in cells], len(names), where), strict=True))
        for name in used & row.keys():
            check_no_error_value(row[name], name, where)
        yield where, row


def check_columns(needed: Needed, names: Sequence[str], where: str, hint: str = "") -> None:
    """Raises InputError unless every column of `needed` is among `names`."""
    choices = [(name,) if isinstance(name, str) else name for name in needed]
    missing = [" or ".join(choice) for choice in choices if not set(choice) & set(names)]
    if missing:
        other = {name.casefold(): name for name in names}
        alike = [other[word] for names in missing for word in names.split(" or ") if word in other]
        hint = f" ({', '.join(alike)} must be in small letters)" * bool(alike) + hint
        raise InputError(f"{where} lacks the column {', '.join(missing)}{hint}")


def check_no_error_value(cell: str, name: str, where: Where) -> None:
    """Raises InputError for a cell of which a spreadsheet has left an error value, such as #NAME? of an id -Hw."""
    if _ERROR_VALUE.fullmatch(cell.strip()):
        raise InputError(
            f"{where}: {name} {cell.strip()!r} is the error value of a spreadsheet, which has lost what stood there; "
            "take it from the original file, and import the column as text"
        )


def _mended(cell: str, where: Where) -> str:
    """A cell as it was before a spreadsheet or Windows dressed it."""
    if formula := _FORMULA_TEXT.fullmatch(cell.strip()):
        where.guess('a cell ="..." was read as the text inside')
        cell = formula[1]
    if _WINDOWS_SIGNS.search(cell):
        where.guess("control characters were read as the quotation marks that Windows has in their places")
        cell = _WINDOWS_SIGNS.sub(lambda sign: _WINDOWS[sign[0]], cell)
    return cell


def _fitted(cells: list[str], count: int, where: Where) -> list[str]:
    """So many cells: empty ones behind the last column are cut off, and those that are lacking are empty, as
    spreadsheets leave out empty cells at the end of a row."""
    while len(cells) > count and not cells[-1].strip():
        cells = cells[:-1]
    if len(cells) > count:
        raise InputError(f"{where} has {len(cells)} cells, the header {count}; quote cells with commas inside")
    if len(cells) < count:
        where.guess("cells that a row lacks at its end were taken for empty")
    return cells + [""] * (count - len(cells))


def _lines(path: Path) -> Iterator[tuple[Where, list[str]]]:
    """(where, cells) of each line, the first stripped, as it may hold names; one at least."""
    text = read_text(path)
    stated = re.match(r"\"?sep=(.)\"?\r?\n", text)  # how Excel is told the separator
    first = text[: text.find("\n") + 1] or text
    separator = stated[1] if stated else max(",\t;", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        if stated:
            next(reader)
        yield Where(f"{path} line {1 + bool(stated)}"), [c.strip(_UNSEEN).strip() for c in next(reader, [])]
        for cells in reader:
            yield Where(f"{path} line {reader.line_num}"), cells
    except csv.Error as error:
        raise InputError(f"{path} is not a csv (near line {reader.line_num}: {error})") from error


def _is_chinese(text: str) -> bool:
    foreign = "".join(c for c in text if c > "\x7f")
    return len(foreign.encode("gb2312", errors="ignore")) / 2 >= 0.8 * len(foreign)
