"""Where a sample's clip lies. A clip that is not there gets the path it was expected at: prepare sets it aside.

Names that lost their form on the way, through a spreadsheet or from another system, are found where just one file can
be meant; `where` takes the guess. Where several can, the row is refused.
"""

import os
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from emsa_jax.data.labels_csv import SPREADSHEETS, Where
from emsa_jax.data.readers.cells import is_no_path, is_rewritten, lost_id, name_of, whole_number
from emsa_jax.errors import InputError

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".flv")
SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".opus")
_ZEROS = "an id such as 1 was taken to mean the file 0001"
_NUMBER = "an id that a spreadsheet made a number, such as 2.0 for 0002, got the name of its file"
_NUMBERED = "a number in a path, such as 2.0 for 0002.wav, was read as the file of that number"
_SUFFIX = "an id with the suffix of a file was read without it"
_SPELLING = "a name was found in another spelling: capital letters, accents, or without its suffix"
_BACKSLASH = "backslashes in a path were read as slashes"
_EXPANDED = "a path with file:// or ~ was read as that of a file of this machine"
_ELSEWHERE = "a path of another machine was looked up by its last parts"
_NO_PATH = "a path such as nan or None was read as none"


def folder_of(source: Path) -> Path:
    """The directory that a source's paths are relative to."""
    return source if source.is_dir() else source.parent


def finder(source: Path, folders: Sequence[str], prefixes: Sequence[str] = ("",)) -> Callable[[str, Where], str]:
    """(clip's name without suffix, where) -> its path in the first of `folders` (relative to the source) that holds it.

    prefixes: what may stand before the name, the preferred first. A source that is a label file without any of
    the folders beside it is text alone: "" for every name.
    """
    root = folder_of(source)
    present = [root / folder for folder in folders if (root / folder).is_dir()]
    if not present and not source.is_dir():
        return lambda *_: ""
    found: dict[str, str] = {}
    for folder in present:
        for stem, path in _listing(folder).items():
            found.setdefault(stem, path)
    expected = (present or [root / folders[0]])[0]

    def find(name: str, where: Where) -> str:
        held = next((found[prefix + name] for prefix in prefixes if prefix + name in found), "")
        if not held and (stem := _stem_like(name, found, "name", where)):
            held = found[stem]
        return held or str(expected / (prefixes[-1] + name + SUFFIXES[0]))

    return find


def name_in(cell: str, column: str, where: Where) -> str:
    """The name of a clip, by which its words and explanations are found too: without the suffix of its file."""
    name = name_of(cell, column, where)
    stem, suffix = os.path.splitext(name)
    if not stem or suffix.lower() not in SUFFIXES + SOUNDS:
        return name
    where.guess(_SUFFIX)
    return stem


def folder_named(parent: Path, name: str, column: str, where: Where) -> str:
    """The name of the folder in `parent` that is meant by a name; the name itself where there is none."""
    if os.path.isdir(parent / name):
        return name
    folders = [entry for entry in _names(parent) if os.path.isdir(parent / entry)]
    return _stem_like(name, folders, column, where) or name


def clip_named(folder: Path, name: str, column: str, where: Where) -> tuple[str, str]:
    """(name, path) of the clip in a folder that is meant by a name; the path is absent where there is none."""
    for number, stem in enumerate(dict.fromkeys((name, name.zfill(4)))):
        for suffix in SUFFIXES:
            if os.path.isfile(folder / (stem + suffix)):
                if number:
                    where.guess(_ZEROS)
                return name, str(folder / (stem + suffix))
    held = _listing(folder) if os.path.isdir(folder) else {}
    if stem := _stem_like(name, held, column, where):
        return stem, held[stem]
    return name, str(folder / (name + SUFFIXES[0]))


def located(root: Path, cell: str, where: Where, elsewhere: bool = False) -> str:
    """The path of a file that a cell names, absolute or relative to `root`; where there is none, as it stands there; ""
    for a cell that says so (nan, None).

    elsewhere: whether an absolute path may be another machine's, which is looked up by its last parts below `root`.
    One with a drive's letter always may.
    """
    if cell.startswith(("file://", "~/")):
        where.guess(_EXPANDED)
        cell = os.path.expanduser(unquote(cell.removeprefix("file://")) if cell.startswith("file://") else cell)
    if os.path.isfile(root / cell):
        return str(root / cell)
    if is_no_path(cell):
        where.guess(_NO_PATH)
        return ""
    path = PureWindowsPath(cell)
    parts = path.parts[bool(path.anchor) :]
    if "\\" in cell:
        ours = str(root.joinpath(*parts)) if not path.drive else ""
        if ours and (os.path.isfile(ours) or not elsewhere):
            where.guess(_BACKSLASH)
            return ours if os.path.isfile(ours) else _spelt(ours, where) or ours
    if elsewhere or path.drive:
        for tail in (parts[i:] for i in range(len(parts))):
            if ".." not in tail and os.path.isfile(root.joinpath(*tail)):
                where.guess(_ELSEWHERE)
                return str(root.joinpath(*tail))
    return _spelt(str(root / cell), where) or str(root / cell)


def stems(folder: Path) -> list[str]:
    """Names, without suffix, of the clips in a folder, sorted."""
    return sorted(_listing(folder)) if folder.is_dir() else []


def spreadsheets(folder: Path) -> str:
    """A hint at spreadsheets in a folder that lacks its table; "" without any."""
    names = [name for name in sorted(os.listdir(folder)) if name.lower().endswith(SPREADSHEETS)]
    return f"; {names[0]} is a spreadsheet: save it as csv (utf-8)" if names else ""


def _stem_like(name: str, stems: Sequence[str] | dict[str, str], column: str, where: Where) -> str:
    """The one of the stems that is meant by a name that is none of them; "" where none can be.

    Raises InputError where several can be, and for a rewritten number that means none."""
    stem, suffix = os.path.splitext(name)
    if suffix.lower() in SUFFIXES + SOUNDS and stem in stems:
        where.guess(_SUFFIX)
        return stem
    number = whole_number(name)
    kinds = {
        _NUMBER: [s for s in stems if s.isdecimal() and number == whole_number(s)] if number is not None else [],
        _SPELLING: [s for s in stems if _folded(s) == _folded(name)],
    }
    for guess, meant in kinds.items():
        if len(meant) > 1:
            raise InputError(f"{where}: {column} {name!r} may mean {' or '.join(sorted(meant)[:3])}; say which")
        if meant:
            where.guess(guess)
            return meant[0]
    if is_rewritten(name):
        raise lost_id(name, column, where)
    return ""


def _spelt(path: str, where: Where) -> str:
    """The one file of the same folder whose name is a path's in another spelling; "" where there is not just one."""
    folder, name = os.path.split(path)
    folder = _folder_spelt(folder)
    stems = {entry: os.path.splitext(entry)[0] for entry in _names(folder) if entry.lower().endswith(SUFFIXES + SOUNDS)}
    suffix = os.path.splitext(name)[1].lower() if name.lower().endswith(SUFFIXES + SOUNDS) else ""
    number = whole_number(name[: len(name) - len(suffix)])
    numbered = [e for e, stem in stems.items() if number is not None and whole_number(stem) == number]
    kinds = {
        _SPELLING: [e for e in _names(folder) if _folded(name) in (_folded(e), _folded(stems.get(e, e)))],
        _NUMBERED: [entry for entry in numbered if entry.lower().endswith(suffix)],  # 2.mp4 is no name of 0002.wav
    }
    for guess, alike in kinds.items():
        if len(alike) == 1 and os.path.isfile(os.path.join(folder, alike[0])):
            where.guess(guess)
            return os.path.join(folder, alike[0])
    return ""


def _folder_spelt(folder: str) -> str:
    """A folder, of which each part may be spelt in another way on the disk; "" where not just one can be meant."""
    parent, name = os.path.split(folder)
    if not folder or parent == folder or os.path.isdir(folder):
        return folder
    parent = _folder_spelt(parent)
    alike = [entry for entry in _names(parent) if parent and _folded(entry) == _folded(name)]
    return os.path.join(parent, alike[0]) if len(alike) == 1 else ""


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _names(folder: str | Path) -> tuple[str, ...]:
    """The names in a folder; none where it cannot be read."""
    try:
        return _names_at(str(folder), os.stat(folder).st_mtime_ns)
    except (OSError, ValueError):
        return ()


@lru_cache(maxsize=64)
def _names_at(folder: str, _changed: int) -> tuple[str, ...]:
    return tuple(sorted(os.listdir(folder)))


def _listing(folder: Path) -> dict[str, str]:
    """stem -> path; of several suffixes the first of `SUFFIXES`."""
    found = {}
    for name in os.listdir(folder):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES and not name.startswith("._"):  # what macOS keeps beside each file
            rank = SUFFIXES.index(suffix.lower())
            found[stem] = min(found.get(stem, (rank, name)), (rank, name))
    return {stem: str(folder / name) for stem, (_, name) in found.items()}
