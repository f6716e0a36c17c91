"""Arrays on disk under hashes of what they were made from: a cache that many steps, stages and runs share.

An entry is a file of its own, written under another name and renamed: the sha256 of its content, then the content. One
that is damaged is as good as none. Whoever writes keeps to a number of bytes: entries that nobody in this process has
used make room, the longest unused first; where that is not enough, nothing more is kept.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

_HASH = 32  # bytes of a sha256


class EncodingStore:
    """A directory of entries.

    Attributes:
      read, made, damaged: entries that were found, that had to be made, and of these that were there but damaged.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        """max_bytes: of all entries together; other processes that write at the same time count their own."""
        self.directory, self.max_bytes = directory, max_bytes
        self.read = self.made = self.damaged = 0
        self._used: set[Path] = set()
        self._bytes: int | None = None

    def get(self, key: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
        """The entry of a key, None where there is no sound one."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if len(content) != _HASH + size or hashlib.sha256(content[_HASH:]).digest() != content[:_HASH]:
            self.damaged += 1
            return None
        self.read += 1
        self._used.add(path)
        os.utime(path)
        return np.frombuffer(content, dtype, offset=_HASH).reshape(shape)

    def put(self, key: str, array: np.ndarray) -> None:
        """Keeps an entry, if there is room; a disk that is full or cannot be written keeps nothing."""
        self.made += 1
        path, content = self._path(key), np.ascontiguousarray(array).tobytes()
        try:
            if not self._make_room(_HASH + len(content)):
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{key}.tmp-{os.getpid()}")
            part.write_bytes(hashlib.sha256(content).digest() + content)
            os.replace(part, path)
        except OSError:
            return
        self._used.add(path)
        self._bytes += _HASH + len(content)

    def _path(self, key: str) -> Path:
        return self.directory / key[:2] / key

    def _make_room(self, size: int) -> bool:
        """Whether an entry of that size fits, after others have made room for it."""
        if self._bytes is None or self._bytes + size > self.max_bytes:
            found = [(entry.stat(), entry) for entry in self.directory.glob("??/*") if entry.is_file()]
            self._bytes = sum(stat.st_size for stat, _ in found)
            for stat, path in sorted(found, key=lambda item: item[0].st_mtime):
                if self._bytes + size <= self.max_bytes:
                    break
                if path not in self._used:
                    path.unlink(missing_ok=True)
                    self._bytes -= stat.st_size
        return self._bytes + size <= self.max_bytes
