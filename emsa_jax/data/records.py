"""Prepared clips on disk: one msgpack record per clip in ArrayRecord shards, an index, and a manifest.

A directory of records holds `<split>-<number>.array_record` shards, `index.jsonl` (one `Entry` a line,
in record order) and `manifest.json`, which is written last: without it the directory is not a set of records.
"""

import hashlib
import io
import json
import os
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from PIL import Image

from emsa_jax.data.mel import MEL_BINS
from emsa_jax.data.sample import SPLITS, Sample
from emsa_jax.errors import InputError
from emsa_jax.manifest import fsync

SCHEMA = 1
MANIFEST, INDEX = "manifest.json", "index.jsonl"
_RECORD_FIELDS = {
    "schema",
    "id",
    "text",
    "score",
    "split",
    "language",
    "frames",
    "frames_shape",
    "frame_rate",
    "mel",
    "pcm",
    "source",
}


@dataclass(frozen=True)
class PrepareOptions:
    """How clips become records.

    num_frames: frames sampled from each video (fewer where it has fewer). min_pixels, max_pixels: bounds of
    height x width of a frame. frame_format: "jpeg" or "raw". jpeg_quality: 1 to 100. shard_bytes: a shard is
    closed when it has grown beyond this. workers: decoding processes, 0 for one per CPU. max_seconds: longer
    clips are set aside. timeout_seconds: so is a clip whose decoding takes longer.
    """

    num_frames: int = 16
    min_pixels: int = 3136
    max_pixels: int = 128 * 28 * 28
    frame_format: str = "jpeg"
    jpeg_quality: int = 95
    shard_bytes: int = 256 * 2**20
    workers: int = 0
    max_seconds: float = 300.0
    timeout_seconds: float = 600.0

    def __post_init__(self):
        if self.frame_format not in ("jpeg", "raw"):
            raise InputError(f"frame_format is {self.frame_format!r}; it must be 'jpeg' or 'raw'")
        if not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"jpeg_quality is {self.jpeg_quality}; it must lie in 1..100")
        if not 28 * 28 <= self.min_pixels <= self.max_pixels:
            raise InputError(
                f"min_pixels {self.min_pixels} and max_pixels {self.max_pixels} must satisfy "
                "784 <= min_pixels <= max_pixels"
            )
        for name in ("num_frames", "shard_bytes", "max_seconds", "timeout_seconds"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be positive")
        if self.workers < 0:
            raise InputError(f"workers is {self.workers}; it must be 0 (one per CPU) or more")


@dataclass(frozen=True)
class Clip:
    """One decoded record, NumPy only."""

    id: str
    text: str
    score: float | None
    split: str
    language: str
    frames: np.ndarray  # uint8 [F, H, W, 3], F == 0 without video; H and W multiples of 28
    frame_rate: float  # sampled frames a second; 0.0 without video
    mel: np.ndarray  # float32 [T, 128], 100 frames a second, T == 0 without sound


@dataclass(frozen=True)
class Entry:
    """What can be known of a record without decoding it; enough to plan batches."""

    id: str
    text: str
    score: float | None
    split: str
    language: str
    num_frames: int
    height: int
    width: int
    frame_rate: float
    mel_frames: int


@dataclass(frozen=True)
class Manifest:
    """What a directory of records holds, and from what it was made."""

    schema: int
    inputs: str  # sha256 of samples, media and options
    score_range: tuple[float, float]
    languages: list[str]
    counts: dict[str, int]  # records a split
    options: dict[str, Any]
    files: list[dict[str, Any]]  # name, split, records, bytes, sha256 of each shard, in record order
    index: dict[str, Any]  # name, bytes, sha256
    digest: str  # sha256 over the files' sha256
    set_aside: list[dict[str, str]]  # id, reason
    max_frames: int
    max_pixels: int  # height x width
    max_mel_frames: int
    max_text_length: int  # characters
    mean_text_length: float
    software: dict[str, str]


# ---- one record ----


def pack(
    sample: Sample,
    frames: np.ndarray,
    frame_rate: float,
    mel: np.ndarray,
    pcm: np.ndarray,
    source: str,
    options: PrepareOptions,
) -> bytes:
    """frames uint8 [F, H, W, 3], mel float [T, 128], pcm int16 [n] at 16 kHz mono -> msgpack bytes."""
    if options.frame_format == "raw":
        images = frames.tobytes()
    else:
        images = [_jpeg(frame, options.jpeg_quality) for frame in frames]
    return msgpack.packb(
        {
            "schema": SCHEMA,
            "id": sample.id,
            "text": sample.text,
            "score": sample.score,
            "split": sample.split,
            "language": sample.language,
            "frames": images,
            "frames_shape": list(frames.shape),
            "frame_rate": float(frame_rate),
            "mel": mel.astype("<f2").tobytes(),
            "pcm": pcm.astype("<i2").tobytes(),
            "source": source,
        }
    )


def unpack(record: bytes) -> Clip:
    """msgpack bytes -> Clip. Raises InputError where the bytes are no record of this schema."""
    fields_ = _fields(record)
    try:
        shape = tuple(fields_["frames_shape"])
        images = fields_["frames"]
        if isinstance(images, bytes):
            frames = np.frombuffer(images, np.uint8).reshape(shape)
        else:
            frames = np.empty(shape, np.uint8)
            for frame, image in zip(frames, images, strict=True):
                frame[:] = np.asarray(Image.open(io.BytesIO(image)))
        mel = np.frombuffer(fields_["mel"], "<f2").reshape(-1, MEL_BINS).astype(np.float32)
    except (ValueError, TypeError, OSError) as error:
        raise InputError(
            f"the record of {fields_['id']!r} does not decode ({error}); prepare the data again"
        ) from error
    return Clip(
        fields_["id"],
        fields_["text"],
        fields_["score"],
        fields_["split"],
        fields_["language"],
        frames,
        fields_["frame_rate"],
        mel,
    )


def unpack_pcm(record: bytes) -> np.ndarray:
    """msgpack bytes -> the sound as int16 [n], 16 kHz mono; n == 0 without sound."""
    return np.frombuffer(_fields(record)["pcm"], "<i2")


def entry(record: bytes) -> Entry:
    """msgpack bytes -> Entry, without decoding any image."""
    fields_ = _fields(record)
    num_frames, height, width, _ = fields_["frames_shape"]
    return Entry(
        fields_["id"],
        fields_["text"],
        fields_["score"],
        fields_["split"],
        fields_["language"],
        num_frames,
        height,
        width,
        fields_["frame_rate"],
        len(fields_["mel"]) // (2 * MEL_BINS),
    )


def _fields(record: bytes) -> dict[str, Any]:
    try:
        fields_ = msgpack.unpackb(record)
    except (ValueError, msgpack.UnpackException) as error:
        raise InputError(f"a record is not msgpack ({error}); prepare the data again") from error
    if (
        not isinstance(fields_, dict)
        or fields_.get("schema") != SCHEMA
        or not _RECORD_FIELDS <= fields_.keys()
    ):
        raise InputError(f"a record does not follow schema {SCHEMA}; prepare the data again")
    return fields_


def _jpeg(frame: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality, subsampling=0)  # faces are small
    return buffer.getvalue()


# ---- writing ----


class ShardWriter:
    """Cuts one split's records into shards; each is written under a temporary name, synced, then renamed."""

    def __init__(self, directory: str | Path, split: str, shard_bytes: int):
        self._directory, self._split, self._shard_bytes = Path(directory), split, shard_bytes
        self._writer, self._records, self._bytes = None, 0, 0
        self._files: list[dict[str, Any]] = []

    def add(self, record: bytes) -> None:
        if self._writer is None:
            self._writer = ArrayRecordWriter(str(self._path()) + ".tmp", "group_size:1")
        self._writer.write(record)
        self._records += 1
        self._bytes += len(record)
        if self._bytes >= self._shard_bytes:
            self._finish()

    def close(self) -> list[dict[str, Any]]:
        """The shards written: name, split, records, bytes, sha256."""
        if self._writer is not None:
            self._finish()
        return self._files

    def _path(self) -> Path:
        return self._directory / f"{self._split}-{len(self._files):05d}.array_record"

    def _finish(self) -> None:
        self._writer.close()
        path = self._path()
        temporary = Path(f"{path}.tmp")
        fsync(temporary)
        os.replace(temporary, path)
        self._files.append(
            {
                "name": path.name,
                "split": self._split,
                "records": self._records,
                "bytes": path.stat().st_size,
                "sha256": file_sha256(path),
            }
        )
        self._writer, self._records, self._bytes = None, 0, 0


def write_index(directory: str | Path, entries: Iterable[Entry]) -> dict[str, Any]:
    """Writes `index.jsonl`; returns its name, bytes and sha256."""
    path = Path(directory) / INDEX
    _write(path, "".join(json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in entries))
    return {"name": INDEX, "bytes": path.stat().st_size, "sha256": file_sha256(path)}


def write_manifest(directory: str | Path, manifest: Manifest) -> None:
    _write(Path(directory) / MANIFEST, json.dumps(asdict(manifest), ensure_ascii=False, indent=1) + "\n")


def digest(files: Iterable[dict[str, Any]]) -> str:
    """One sha256 for all shards and the index."""
    return hashlib.sha256("".join(f"{f['name']} {f['sha256']}\n" for f in files).encode()).hexdigest()


def file_sha256(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, text: str) -> None:
    temporary = Path(f"{path}.tmp")
    temporary.write_text(text, encoding="utf-8")
    fsync(temporary)
    os.replace(temporary, path)
    fsync(path.parent)


# ---- reading ----


def read_manifest(directory: str | Path) -> Manifest:
    """The manifest of a directory of records; InputError where there is none or it is of another schema."""
    path = Path(directory) / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{directory} holds no {MANIFEST}: run prepare on it first") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); prepare the data again") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {schema!r}, this version reads {SCHEMA}; prepare the data again")
    names = {f.name for f in fields(Manifest)}
    if content.keys() != names:
        raise InputError(
            f"{path}: missing or unknown fields {sorted(content.keys() ^ names)}; prepare the data again"
        )
    try:
        lo, hi = map(float, content["score_range"])
        records = sum(int(f["records"]) for f in content["files"])
        if records != sum(content["counts"].values()) or set(content["counts"]) != set(SPLITS):
            raise ValueError("counts and files disagree")
        if digest([*content["files"], content["index"]]) != content["digest"]:
            raise ValueError("digest and files disagree")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error!r}); prepare the data again") from error
    return Manifest(**{**content, "score_range": (lo, hi)})


def read_index(directory: str | Path, split: str) -> list[Entry]:
    """The entries of one split, in record order. The file is checked against its hash."""
    manifest, path = read_manifest(directory), Path(directory) / INDEX
    if not path.is_file() or file_sha256(path) != manifest.index["sha256"]:
        raise InputError(f"{path} is missing or damaged; prepare the data again")
    with open(path, encoding="utf-8") as lines:
        entries = [Entry(**json.loads(line)) for line in lines]
    return [e for e in entries if e.split == split]


def verify(directory: str | Path) -> None:
    """Compares every file with its sha256 in the manifest; InputError naming the first that differs."""
    manifest = read_manifest(directory)
    for file in [*manifest.files, manifest.index]:
        path = Path(directory) / file["name"]
        if not path.is_file() or file_sha256(path) != file["sha256"]:
            raise InputError(f"{path} is missing or damaged; prepare the data again")


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


def _open(path: Path, shard: dict[str, Any]) -> ArrayRecordReader:
    if not path.is_file():
        raise InputError(f"{path} is missing; prepare the data again")
    if path.stat().st_size != shard["bytes"]:
        raise InputError(
            f"{path} has {path.stat().st_size} bytes, the manifest says {shard['bytes']}; "
            "prepare the data again"
        )
    try:
        reader = ArrayRecordReader(str(path), "readahead_buffer_size:0")
        records = reader.num_records()
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({_line(error)}); prepare the data again") from error
    if records != shard["records"]:
        raise InputError(
            f"{path} holds {records} records, the manifest says {shard['records']}; prepare the data again"
        )
    return reader


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
