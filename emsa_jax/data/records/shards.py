"""Writing one split's records into shards."""

import os
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from emsa_jax.manifest import fsync, sha256_file


class ShardWriter:
    """Cuts one split's records into shards; each is written under a temporary name, synced, then renamed."""

    def __init__(self, directory: str | Path, split: str, shard_bytes: int):
        self._directory, self._split, self._shard_bytes = Path(directory), split, shard_bytes
        self._writer, self._records, self._bytes = None, 0, 0
        self._shards: list[dict[str, Any]] = []

    def add(self, record: bytes) -> None:
        if self._writer is None:
            self._writer = ArrayRecordWriter(f"{self._path()}.tmp", "group_size:1")
        self._writer.write(record)
        self._records += 1
        self._bytes += len(record)
        if self._bytes >= self._shard_bytes:
            self._finish()

    def close(self) -> list[dict[str, Any]]:
        """The shards written: name, split, records, bytes, sha256."""
        if self._writer is not None:
            self._finish()
        return self._shards

    def _path(self) -> Path:
        return self._directory / f"{self._split}-{len(self._shards):05d}.array_record"

    def _finish(self) -> None:
        self._writer.close()
        path = self._path()
        temporary = Path(f"{path}.tmp")
        fsync(temporary)
        os.replace(temporary, path)
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
