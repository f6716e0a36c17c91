"""Writing one split's records into shards."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from emsa_jax.manifest import fsync, sha256_file


class ShardWriter:
    """Cuts one split's records into shards; each is written under a temporary name, synced, then renamed.

    A shard is described as a dict of name, split, records, bytes, sha256. Raises OSError where it cannot be written.
    """

    def __init__(self, directory: str | Path, split: str, shard_bytes: int, first: int = 0):
        self._directory, self._split, self._shard_bytes = Path(directory), split, shard_bytes
        self._first = first  # number of the first shard
        self._writer, self._records, self._bytes = None, 0, 0
        self._shards: list[dict[str, Any]] = []

    def add(self, record: bytes) -> dict[str, Any] | None:
        """Returns the shard that is finished with this record, if one is."""
        with _disk_errors(f"{self._path()}.tmp") as temporary:
            if self._writer is None:
                self._writer = ArrayRecordWriter(temporary, "group_size:1")
            self._writer.write(record)
        self._records += 1
        self._bytes += len(record)
        return self.finish() if self._bytes >= self._shard_bytes else None

    def close(self) -> list[dict[str, Any]]:
        """Finishes the last shard; returns all that were written."""
        self.finish()
        return self._shards

    def finish(self) -> dict[str, Any] | None:
        """Finishes the shard that is being written, if one is, and returns it."""
        if self._writer is None:
            return None
        path = self._path()
        with _disk_errors(f"{path}.tmp") as temporary:
            self._writer.close()
        fsync(temporary)
        os.replace(temporary, path)
        fsync(path.parent)
        self._shards.append(
            {
                "name": path.name,
                "split": self._split,
                "records": self._records,
                "bytes": path.stat().st_size,
                "sha256": sha256_file(path),
            }
        )
        self._writer, self._records, self._bytes = None, 0, 0
        return self._shards[-1]

    def _path(self) -> Path:
        return self._directory / f"{self._split}-{self._first + len(self._shards):05d}.array_record"


@contextmanager
def _disk_errors(path: str) -> Iterator[str]:
    """ArrayRecord's writer tells everything in a RuntimeError: "write() failed: No space left on device; ..."."""
    try:
        yield path
    except RuntimeError as error:
        raise OSError(errno.EIO, str(error).split(";")[0].strip()[:200], path) from error
