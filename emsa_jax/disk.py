"""A full disk, told in one line: what was to be written, what it takes, what is free, and what is kept."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from emsa_jax.errors import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT), ("no space left on device", "disk quota exceeded")  # as C++ and Rust say it
_TOO_LARGE = (errno.EFBIG,), ("file too large",)


class DiskFull(InputError):
    """A file that a full disk has no room for."""


def is_full(error: BaseException | None) -> bool:
    """Whether a full disk is behind an error, whatever kind of error libraries have made of it."""
    return _is_behind(error, *_FULL)


def is_too_large(error: BaseException | None) -> bool:
    """Whether the limit of a file's size (ulimit -f, or the file system's) is behind an error, likewise."""
    return _is_behind(error, *_TOO_LARGE)


def _is_behind(error: BaseException | None, numbers: tuple[int, ...], texts: tuple[str, ...]) -> bool:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in numbers:
            return True
        if any(text in str(error).lower() for text in texts):
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_full(path: str | os.PathLike, needed: int | None = None, kept: str = "what was finished") -> DiskFull:
    """The error to raise for a path that a full disk has no room for.

    Args:
      needed: bytes that were to be written; None if nobody knows.
      kept: what is on the disk all the same, and not lost.
    """
    takes = f"it takes about {_size(needed)}, and " if needed is not None else ""
    return DiskFull(
        f"{path} cannot be written: the disk is full ({takes}{_size(free_bytes(path))} are free); {kept} is kept: make "
        "room, and the same command goes on"
    )


@contextlib.contextmanager
def told_when_full(path: str | os.PathLike, needed: int | None = None, kept: str = "what was finished") -> Iterator:
    """Inside, an error that a full disk is behind becomes a `DiskFull` that names the path; others stay as they are."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DiskFull) or not is_full(error):
            raise
        raise disk_full(path, needed, kept) from error


def free_bytes(path: str | os.PathLike) -> int:
    """Bytes that are free on the disk on which a path lies, or would lie."""
    return shutil.disk_usage(_nearest(path)).free


def not_writable(directory: str | os.PathLike) -> Path | None:
    """What keeps files from being made in a directory, which need not exist yet: the place that is no directory or may
    not be written. None where nothing does."""
    place = _nearest(directory)
    return None if place.is_dir() and os.access(place, os.W_OK) else place


def _nearest(path: str | os.PathLike) -> Path:
    """The path, or the nearest directory above it that exists."""
    path = Path(path).absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"
