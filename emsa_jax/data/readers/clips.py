"""Where a sample's clip lies. A clip that is not there gets the path it was expected at: prepare sets it aside."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".flv")


def folder_of(source: Path) -> Path:
    """The directory that a source's paths are relative to."""
    return source if source.is_dir() else source.parent


def finder(source: Path, folders: Sequence[str], prefixes: Sequence[str] = ("",)) -> Callable[[str], str]:
    """clip's name without suffix -> its path in the first of `folders` (relative to the source) that holds it.

    prefixes: what may stand before the name, the preferred first. A source that is a label file without any of
    the folders beside it is text alone: "" for every name.
    """
    root = folder_of(source)
    present = [root / folder for folder in folders if (root / folder).is_dir()]
    if not present and not source.is_dir():
        return lambda name: ""
    found: dict[str, str] = {}
    for folder in present:
        for stem, path in _listing(folder).items():
            found.setdefault(stem, path)
    expected = (present or [root / folders[0]])[0]

    def find(name: str) -> str:
        held = (found[prefix + name] for prefix in prefixes if prefix + name in found)
        return next(held, str(expected / (prefixes[-1] + name + SUFFIXES[0])))

    return find


def in_folder(folder: Path, names: Sequence[str]) -> str:
    """The first of the names, each with any suffix of a video, that is in the folder; or the first, absent."""
    for path in (folder / (name + suffix) for name in names for suffix in SUFFIXES):
        if os.path.isfile(path):
            return str(path)
    return str(folder / (names[0] + SUFFIXES[0]))


def stems(folder: Path) -> list[str]:
    """Names, without suffix, of the clips in a folder, sorted."""
    return sorted(_listing(folder)) if folder.is_dir() else []


def _listing(folder: Path) -> dict[str, str]:
    """stem -> path; of several suffixes the first of `SUFFIXES`."""
    found = {}
    for name in os.listdir(folder):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in SUFFIXES:
            rank = SUFFIXES.index(suffix.lower())
            found[stem] = min(found.get(stem, (rank, name)), (rank, name))
    return {stem: str(folder / name) for stem, (_, name) in found.items()}
