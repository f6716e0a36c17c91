"""A directory that is being built: a killed run leaves it for the next one to continue, and nobody takes it for done.

`<out>.partial` holds `identity`, working files, and `records`, which is renamed to `<out>` when all is written.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.disk import disk_full, is_full
from emsa_jax.errors import InputError
from emsa_jax.manifest import fsync, write_atomic

_IDENTITY = "identity"


@dataclass(frozen=True)
class Building:
    """records: the directory that becomes the output. work: the directory of files that are needed until then."""

    records: Path
    work: Path


@contextmanager
def building(out_dir: Path, identity: str) -> Iterator[Building]:
    """A directory to fill, which becomes `out_dir` if nothing goes wrong, and otherwise stays.

    What an earlier run left is kept if that run had the same identity, and removed if not. An `out_dir` that exists is
    replaced. Raises InputError where another process builds it, or where the disk is full or not writable.
    """
    partial = partial_of(out_dir)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        lock = _lock(partial)
        try:
            _claim(partial, identity)
            records = partial / "records"
            records.mkdir(exist_ok=True)
            yield Building(records, partial)
            fsync(records)
            if out_dir.exists():
                shutil.rmtree(partial / "replaced", ignore_errors=True)
                os.replace(out_dir, partial / "replaced")
            os.replace(records, out_dir)
            fsync(out_dir.parent)
            _remove(partial)
        finally:
            os.close(lock)
    except OSError as error:
        if is_full(error):
            raise disk_full(error.filename or partial, kept=f"what is done, in {partial},") from error
        reason = error.strerror or str(error)
        raise InputError(
            f"{error.filename or partial} cannot be written ({reason}); mend that, and the same command goes "
            f"on: what is done is kept in {partial}"
        ) from error


def partial_of(out_dir: Path) -> Path:
    """Where an output is built."""
    return out_dir.with_name(out_dir.name + ".partial")


def tidy(out_dir: Path) -> None:
    """Removes what a run left that was killed after its output was in place."""
    partial = partial_of(out_dir)
    if (partial / _IDENTITY).is_file() and not (partial / "records").exists():
        _remove(partial)
    with suppress(OSError):
        partial.rmdir()  # if it is empty


def _lock(partial: Path) -> int:
    while True:
        partial.mkdir(exist_ok=True)
        lock = os.open(partial, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise InputError(f"another prepare is writing {partial}; wait for it to end") from None
        if partial.exists() and os.path.samestat(os.fstat(lock), partial.stat()):
            return lock
        os.close(lock)  # the other has just finished, and removed it


def _claim(partial: Path, identity: str) -> None:
    """Keeps the content of a directory with this identity; else leaves an empty directory with it."""
    path = partial / _IDENTITY
    if path.is_file() and path.read_text() == identity:
        return
    if not path.exists() and _others(partial):
        raise InputError(f"{partial} exists and is not ours; remove it or name another directory")
    _empty(partial)
    write_atomic(path, identity.encode())  # last, so that a kill before it leaves the old identity


def _remove(partial: Path) -> None:
    with suppress(OSError):  # the output is in place, and the next run tidies up
        _empty(partial)
        shutil.rmtree(partial)


def _empty(partial: Path) -> None:
    """Removes everything but the identity, which shows that the rest is ours."""
    for left in _others(partial):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _others(partial: Path) -> list[Path]:
    return [p for p in partial.iterdir() if p.name != _IDENTITY and not p.name.startswith(f".{_IDENTITY}")]
