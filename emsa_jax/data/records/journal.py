"""A file that only grows, of which a kill at any moment costs at most the last entry."""

import contextlib
import errno
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack

_HEADER = struct.Struct("<QI")  # size and crc32 of what follows


class Journal:
    """Appends msgpack values to a file."""

    def __init__(self, path: str | Path):
        self._file = open(path, "ab", buffering=0)

    def append(self, value: Any) -> None:
        """One write: what it wrote outlives this process as soon as it returns. Raises OSError, on a full disk too."""
        payload = msgpack.packb(value)
        content = _HEADER.pack(len(payload), zlib.crc32(payload)) + payload
        if self._file.write(content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)

    def close(self) -> None:
        self._file.close()


def replay(path: str | Path) -> Iterator[Any]:
    """The whole values of a journal, in order; cuts off what follows them, so that it can be appended to."""
    with contextlib.suppress(FileNotFoundError), open(path, "r+b") as file:
        whole = 0
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            size, crc = _HEADER.unpack(header)
            payload = file.read(size) if size <= os.fstat(file.fileno()).st_size else b""
            if len(payload) < size or zlib.crc32(payload) != crc:
                break
            whole += _HEADER.size + size
            yield msgpack.unpackb(payload)
        file.truncate(whole)
