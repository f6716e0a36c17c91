"""Random access to records, as `tfds.data_source` gives it: a length, and raw records by number."""

from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader

from emsa_jax.data.records.records_manifest import read_index, read_manifest
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError
from emsa_jax.manifest import sha256_file


class RecordSource:
    """Random access to one split's raw records. A damaged record or shard is an InputError that names it."""

    def __init__(self, directory: str | Path, split: str):
        if split not in SPLITS:
            raise InputError(f"split {split!r} is none of {', '.join(SPLITS)}")
        manifest = read_manifest(directory)
        shards = [f for f in manifest.files if f["split"] == split]
        self._paths = [Path(directory) / f["name"] for f in shards]
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
            return self._readers[shard].read([inner])[0]
        except (RuntimeError, IndexError, ValueError) as error:
            raise InputError(
                f"{self._paths[shard]}: record {inner} is damaged ({_line(error)}); prepare the data again"
            ) from error


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


def _open(path: Path, shard: dict[str, Any]) -> ArrayRecordReader:
    if not path.is_file():
        raise InputError(f"{path} is missing; prepare the data again")
    if (size := path.stat().st_size) != shard["bytes"]:
        raise InputError(f"{path} has {size} bytes, the manifest says {shard['bytes']}; prepare the data again")
    try:
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
        records = reader.num_records()
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({_line(error)}); prepare the data again") from error
    if records != shard["records"]:
        found = f"{path} holds {records} records, the manifest says {shard['records']}"
        raise InputError(f"{found}; prepare the data again")
    return reader


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
