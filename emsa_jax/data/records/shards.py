"""Shards of records in ArrayRecord files: written one after the other, read at random by number."""

import errno
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from emsa_jax.data.records.record import entry
from emsa_jax.data.records.records_manifest import read_index, read_manifest
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError
from emsa_jax.manifest import fsync, sha256_file


class ShardWriter:
    """Cuts one split's records into shards; each is written under a temporary name, synced, then renamed.

    A shard is described as a dict of name, split, records, bytes, sha256. Raises OSError where it cannot be written.
    """

    def __init__(self, directory: str | Path, split: str, shard_bytes: int, first: int = 0) -> None:
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


class RecordSource:
    """Random access to one split's raw records, as `tfds.data_source` gives it: a length, and records by number.

    A damaged record or shard is an InputError that names it, and so is a record that is not the one of the index: whole
    shards may have been put in the place of others.
    """

    def __init__(self, directory: str | Path, split: str) -> None:
        if split not in SPLITS:
            raise InputError(f"split {split!r} is none of {', '.join(SPLITS)}")
        manifest = read_manifest(directory)
        shards = [f for f in manifest.files if f["split"] == split]
        self._paths = [Path(directory) / f["name"] for f in shards]
        self._entries = read_index(directory, split)
        self._starts = [0]
        self._readers = []
        for path, shard in zip(self._paths, shards, strict=True):
            self._starts.append(self._starts[-1] + shard["records"])
            self._readers.append(_open(path, shard))

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = bisect_right(self._starts, index) - 1
        inner = int(index) - self._starts[shard]
        try:
            record = self._readers[shard].read([inner])[0]
            held = entry(record)
        except (RuntimeError, IndexError, ValueError) as error:
            reason = _first_line(error).removesuffix("; prepare the data again")
            raise InputError(
                f"{self._paths[shard]}: record {inner} is damaged ({reason}); prepare the data again"
            ) from error
        if held != (listed := self._entries[int(index)]):
            what = f"is of {held.id!r}, the index says {listed.id!r}" if held.id != listed.id else "is another one"
            raise InputError(
                f"{self._paths[shard]}: record {inner} {what}: the file is not of these records; put its own back, or "
                "prepare the data again"
            )
        return record


def sound_records(directory: str | Path, inputs: str) -> dict[str, Callable[[], bytes]]:
    """id -> how to read its record, for those of a directory made from `inputs` that lie in undamaged shards."""
    try:
        manifest = read_manifest(directory)
        entries = [entry for split in SPLITS for entry in read_index(directory, split)]
    except InputError:
        return {}
    found, start = {}, 0
    for shard in manifest.files if manifest.inputs == inputs else []:
        path = Path(directory) / shard["name"]
        if path.is_file() and sha256_file(path) == manifest.hashes[shard["name"]]:
            reader = _open(path, shard)
            for inner, entry in enumerate(entries[start : start + shard["records"]]):
                found[entry.id] = lambda reader=reader, inner=inner: reader.read([inner])[0]
        start += shard["records"]
    return found


@contextmanager
def _disk_errors(path: str) -> Iterator[str]:
    """Turns what ArrayRecord's writer raises, a RuntimeError for everything, into an OSError. Its text begins like
    "write() failed: No space left on device; ..."."""
    try:
        yield path
    except RuntimeError as error:
        raise OSError(errno.EIO, str(error).split(";")[0].strip()[:200], path) from error


def _open(path: Path, shard: dict[str, Any]) -> ArrayRecordReader:
    if not path.is_file():
        raise InputError(f"{path} is missing; prepare the data again")
    if (size := path.stat().st_size) != shard["bytes"]:
        raise InputError(f"{path} has {size} bytes, the manifest says {shard['bytes']}; prepare the data again")
    try:
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
        records = reader.num_records()
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({_first_line(error)}); prepare the data again") from error
    if records != shard["records"]:
        found = f"{path} holds {records} records, the manifest says {shard['records']}"
        raise InputError(f"{found}; prepare the data again")
    return reader


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
