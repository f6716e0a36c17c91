"""The record of a distillation: one JSON object a line, in a file that only grows.

A line is whole or does not count. Each ends in the crc32 of what stands before it, so that a flipped bit is noticed;
what a kill left half-written at the end is cut off by the next writer. What `append` has written outlives this process
as soon as it returns (a power cut may cost the last seconds: the system writes to the disk in its own time).

Several processes may append to one record: each append locks the file, first takes up what others have written, and
may then refuse.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from emsa_jax.errors import InputError

NAME = "record.jsonl"
Row = dict[str, Any]
_SUM = b',"crc32":"'
_TAIL = len(_SUM) + 8 + len(b'"}\n')


class Record:
    """An open record. take(row, place): called with every row, in the order of the file: those that are there, one's
    own, others'. A place is where `at` finds the row again.

    Raises InputError where the file cannot be opened or is damaged.
    """

    def __init__(self, path: str | Path, take: Callable[[Row, int], None]):
        self.path, self._take = Path(path), take
        self._offset = self._lines = 0
        self._mutex = threading.RLock()
        try:
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 (held as long as the record)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be opened: {error.strerror}") from error
        self.refresh()

    def refresh(self) -> None:
        """Takes up the rows that others have appended since."""
        with self._mutex:
            if self._size() == self._offset:
                return
            for row, size in _rows(self._file, self.path, self._offset, self._lines):
                place, self._offset = self._offset, self._offset + size
                self._lines += 1
                self._take(row, place)

    def at(self, place: int) -> Row:
        """The row at a place, read again."""
        with self._mutex:
            self._file.seek(place)
            line = b""
            while not line.endswith(b"\n") and (block := self._file.readline()):
                line += block
        row = _read(line)
        if row is None:
            raise InputError(f"{self.path}: damaged at byte {place}")
        return row

    def append(self, *rows: Row, unless: Callable[[], bool] | None = None) -> bool:
        """Appends rows, all in one write. unless: asked after others' rows were taken up; if true, nothing is written.

        Returns whether they were written. Raises OSError, on a full disk too; what was half-written is cut off.
        """
        lines = list(map(_line, rows))
        content = b"".join(lines)
        with self._locked():
            self.refresh()
            if unless is not None and unless():
                return False
            if self._size() != self._offset:  # what a killed writer left
                os.ftruncate(self._file.fileno(), self._offset)
            try:
                written = 0
                while written < len(content):
                    written += self._file.write(content[written:])
            except OSError:
                os.ftruncate(self._file.fileno(), self._offset)
                raise
            for row, line in zip(rows, lines, strict=True):
                place, self._offset = self._offset, self._offset + len(line)
                self._lines += 1
                self._take(row, place)
        return True

    def close(self) -> None:
        """Waits until everything is on the disk."""
        os.fsync(self._file.fileno())
        self._file.close()

    def _size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._mutex:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)


def read_record(path: str | Path) -> Iterator[Row]:
    """The whole rows of a record, in order, one at a time. Raises InputError naming the line that is damaged."""
    try:
        with open(path, "rb") as file:
            for row, _ in _rows(file, path, 0, 0):
                yield row
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def is_record(path: str | Path) -> bool:
    """Whether a file is a record, or a directory holds one."""
    path = Path(path) / NAME if Path(path).is_dir() else Path(path)
    try:
        with open(path, "rb") as file:
            first = file.readline()
    except OSError:
        return False
    return _SUM in first[-_TAIL:]


def _line(row: Row) -> bytes:
    body = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
    return body[:-1] + _SUM + f'{zlib.crc32(body):08x}"}}\n'.encode()


def _rows(file, path, offset: int, lines: int) -> Iterator[tuple[Row, int]]:
    """(row, bytes of its line) from an offset on; a last line without an end is left out."""
    file.seek(offset)
    rest = b""
    while block := file.read(1 << 20):
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            lines += 1
            row = _read(line + b"\n")
            if row is None:
                raise InputError(f"{path}, line {lines}: damaged; take this line out to go on without what it says")
            yield row, len(line) + 1


def _read(line: bytes) -> Row | None:
    body = line[:-_TAIL] + b"}"
    if line[-_TAIL:] != _SUM + f'{zlib.crc32(body):08x}"}}\n'.encode():
        return None
    try:
        return json.loads(body)
    except ValueError:
        return None
