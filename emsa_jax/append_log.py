"""Files that only grow: one entry after the other, of which a kill at any moment costs at most the last one.

An entry counts once all of its bytes are on file. What a killed writer left half-written at the end is ignored by
readers and cut off by the next writer. Three formats of entries are in use:

    JsonLines          one JSON object a line (metrics, answers of a policy)
    CheckedJsonLines   the same, with a crc32 in each line, so that a flipped bit is noticed (the record of traces)
    PackedEntries      msgpack values behind their size and crc32 (records on their way into a shard)
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgpack

from emsa_jax.disk import told_when_full
from emsa_jax.errors import InputError
from emsa_jax.json_file import finite_json

Row = dict[str, Any]
_BLOCK_BYTES = 1 << 20


class EntryFormat(Protocol):
    """How entries become bytes, and bytes entries again."""

    def encode(self, entry: Any) -> bytes:
        """The bytes of one entry."""
        ...

    def decode(self, file: BinaryIO, path: str | Path, number: int) -> Iterator[tuple[Any, int]]:
        """(entry, its size in bytes) for each whole entry from the file's position on; stops at a half-written one.

        number: how many entries lie before, for messages. Raises InputError for an entry that is whole but damaged.
        """
        ...


@dataclass(frozen=True)
class JsonLines:
    """One JSON object a line, in UTF-8. Half a surrogate pair, which a tokenizer may produce, is kept.

    damage: what the error says of a damaged line, behind the path and the line's number.
    """

    damage: str = " is damaged; remove the line"

    def encode(self, entry: Row) -> bytes:
        """The line of an object, its end included. Numbers that are not finite become null."""
        return (
            json.dumps(finite_json(entry), ensure_ascii=False, allow_nan=False).encode("utf-8", "surrogatepass") + b"\n"
        )

    def decode(self, file: BinaryIO, path: str | Path, number: int) -> Iterator[tuple[Row, int]]:
        """See `EntryFormat`."""
        rest = b""
        while block := file.read(_BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                number += 1
                row = self._row(line)
                if not isinstance(row, dict):
                    raise InputError(f"{path}, line {number}{self.damage}")
                yield row, len(line) + 1

    def _row(self, line: bytes) -> Any:
        """The object of a line without its end; None for a damaged one."""
        try:
            return json.loads(line.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True)
class CheckedJsonLines(JsonLines):
    """Lines whose last field is the crc32 of what stands before it. Half a surrogate pair becomes a question mark."""

    damage: str = ": damaged; take this line out to go on without what it says"

    _FIELD = b',"crc32":"'
    _TAIL_BYTES = len(_FIELD) + 8 + len(b'"}')

    def encode(self, entry: Row) -> bytes:
        """The line of an object, its crc32 and its end included."""
        text = json.dumps(entry, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        body = text.encode("utf-8", "replace")
        return body[:-1] + self._tail(body) + b"\n"

    def has_checksum(self, line: bytes) -> bool:
        """Whether a line is one of this format, damaged or not."""
        return self._FIELD in line[-self._TAIL_BYTES - 1 :]

    def _row(self, line: bytes) -> Any:
        body = line[: -self._TAIL_BYTES] + b"}"
        if line[-self._TAIL_BYTES :] != self._tail(body):
            return None
        return super()._row(body)

    def _tail(self, body: bytes) -> bytes:
        return self._FIELD + f'{zlib.crc32(body):08x}"}}'.encode()


@dataclass(frozen=True)
class PackedEntries:
    """msgpack values, each behind a header. A damaged one hides where the next begins, so entries end before it."""

    _HEADER = struct.Struct("<QI")  # size and crc32 of the payload

    def encode(self, entry: Any) -> bytes:
        """Header and payload of a value."""
        payload = msgpack.packb(entry)
        return self._HEADER.pack(len(payload), zlib.crc32(payload)) + payload

    def decode(
        self,
        file: BinaryIO,
        path: str | Path,  # noqa: ARG002 (of the protocol, as is the next)
        number: int,  # noqa: ARG002
    ) -> Iterator[tuple[Any, int]]:
        """See `EntryFormat`."""
        most = os.fstat(file.fileno()).st_size
        while len(header := file.read(self._HEADER.size)) == self._HEADER.size:
            size, crc = self._HEADER.unpack(header)
            payload = file.read(size) if size <= most else b""  # a damaged size must not ask for that much memory
            if len(payload) < size or zlib.crc32(payload) != crc:
                return
            yield msgpack.unpackb(payload), len(header) + size


class AppendLog:
    """An open file of entries. Several threads and processes may append to it.

    take(entry, place) is called with every entry, in the order of the file: those that are on file already, those that
    are appended here, and those that other processes append. `at(place)` reads an entry again. Each append locks the
    file and first takes the entries of other writers, and may then refuse.

    What `append` has written outlives this process as soon as it returns; `sync` makes it outlive a power cut too.
    Raises InputError where the file cannot be opened or an entry is damaged.
    """

    def __init__(self, path: str | Path, format: EntryFormat, take: Callable[[Any, int], None] | None = None) -> None:
        self.path, self._format = Path(path), format
        self._take = take or (lambda *_: None)
        self._offset = self._entries = 0
        self._mutex = threading.RLock()
        try:
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115 (held until `close`)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be opened: {error.strerror}") from error
        self.refresh()

    def refresh(self) -> None:
        """Takes the entries that others have appended since."""
        with self._mutex:
            if self._size() == self._offset:
                return
            with open(self.path, "rb") as file:  # buffered, and with a position of its own
                file.seek(self._offset)
                for entry, size in self._format.decode(file, self.path, self._entries):
                    self._took(entry, size)

    def at(self, place: int) -> Any:
        """The entry at a place, read again."""
        with open(self.path, "rb") as file:
            file.seek(place)
            try:
                return next(self._format.decode(file, self.path, 0))[0]
            except (InputError, StopIteration) as error:
                raise InputError(f"{self.path}: damaged at byte {place}") from error

    def append(self, *entries: Any, unless: Callable[[], bool] | None = None) -> bool:
        """Appends entries, all or none. unless: asked after the entries of others were taken; if true, nothing is
        written.

        Returns whether they were written. Raises OSError, on a full disk DiskFull; what was half-written is cut off.
        """
        encoded = list(map(self._format.encode, entries))
        content = b"".join(encoded)
        with self._locked():
            self.refresh()
            if unless is not None and unless():
                return False
            if self._size() != self._offset:  # what a killed writer left
                os.ftruncate(self._file.fileno(), self._offset)
            with told_when_full(self.path, len(content)):
                try:
                    written = 0
                    while written < len(content):
                        written += self._file.write(content[written:])
                except OSError:
                    os.ftruncate(self._file.fileno(), self._offset)
                    raise
            for entry, one in zip(entries, encoded, strict=True):
                self._took(entry, len(one))
        return True

    def sync(self) -> None:
        """Waits until everything is on the disk."""
        os.fsync(self._file.fileno())

    def close(self, sync: bool = True) -> None:
        """Closes the file. sync: first wait until everything is on the disk."""
        if sync:
            self.sync()
        self._file.close()

    def _took(self, entry: Any, size: int) -> None:
        place, self._offset = self._offset, self._offset + size
        self._entries += 1
        self._take(entry, place)

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


def read_log(path: str | Path, format: EntryFormat) -> Iterator[Any]:
    """The whole entries of a file, in order, one at a time.

    Raises InputError for a file that cannot be read or does not exist, and for a damaged entry.
    """
    try:
        with open(path, "rb") as file:
            for entry, _ in format.decode(file, path, 0):
                yield entry
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def cut_torn_entry(path: str | Path) -> None:
    """Cuts off the line that a killed writer left half-written, in a file of lines that no `AppendLog` writes."""
    with contextlib.suppress(FileNotFoundError), open(path, "r+b") as file:
        file.truncate(file.read().rfind(b"\n") + 1)
