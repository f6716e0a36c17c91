"""The manifest and the index of a directory of records: what it holds, and how that is checked."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from emsa_jax.data.records.record import SCHEMA, Entry, entry_of
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError
from emsa_jax.manifest import sha256_file

MANIFEST, INDEX = "manifest.json", "index.jsonl"


@dataclass(frozen=True)
class Manifest:
    """What a directory of records holds, and from what it was made."""

    schema: int
    dataset: str  # the reader's name, "" where the layout decided
    inputs: str  # sha256 of samples, media and options
    score_range: tuple[float, float]
    languages: list[str]
    samples: dict[str, int]  # records a split
    quarantined: list[dict[str, str]]  # id, reason
    options: dict[str, Any]
    files: list[dict[str, Any]]  # name, split, records, bytes of each shard, in record order
    hashes: dict[str, str]  # file name -> sha256: the shards, then the index
    digest: str  # sha256 over `hashes`
    quantiles: dict[str, dict[str, float]]  # text (characters), frames, mel_frames, seconds, tokens if known
    boundaries: list[int]  # of length buckets in tokens, rising; [] where no tokens were counted
    max_frames: int
    max_pixels: int  # height x width
    max_mel_frames: int
    max_text_length: int  # characters
    mean_text_length: float
    software: dict[str, str]


def digest(hashes: Mapping[str, str]) -> str:
    """One sha256 for all shards and the index."""
    return hashlib.sha256("".join(f"{name} {sha}\n" for name, sha in hashes.items()).encode()).hexdigest()


def read_manifest(directory: str | Path) -> Manifest:
    """The manifest of a directory of records; InputError where there is none or it is of another schema."""
    path = Path(directory) / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{directory} holds no {MANIFEST}: run prepare on it first") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); prepare the data again") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {schema!r}, this version reads {SCHEMA}; prepare the data again")
    names = {f.name for f in fields(Manifest)}
    if content.keys() != names:
        odd = sorted(content.keys() ^ names)
        raise InputError(f"{path}: missing or unknown fields {odd}; prepare the data again")
    try:
        lo, hi = map(float, content["score_range"])
        records = sum(int(f["records"]) for f in content["files"])
        if records != sum(content["samples"].values()) or set(content["samples"]) != set(SPLITS):
            raise ValueError("samples and files disagree")
        if [*(f["name"] for f in content["files"]), INDEX] != list(content["hashes"]):
            raise ValueError("files and hashes disagree")
        if digest(content["hashes"]) != content["digest"]:
            raise ValueError("digest and hashes disagree")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error!r}); prepare the data again") from error
    return Manifest(**{**content, "score_range": (lo, hi)})


def read_index(directory: str | Path, split: str) -> list[Entry]:
    """The entries of one split, in record order. The file is checked against its hash."""
    manifest = read_manifest(directory)
    _check(directory, manifest, INDEX)
    with open(Path(directory) / INDEX, encoding="utf-8") as lines:
        entries = [entry_of(json.loads(line)) for line in lines]
    return [e for e in entries if e.split == split]


def verify(directory: str | Path) -> None:
    """Compares every file with its sha256 in the manifest; InputError naming the first that differs."""
    manifest = read_manifest(directory)
    for name in manifest.hashes:
        _check(directory, manifest, name)


def _check(directory: str | Path, manifest: Manifest, name: str) -> None:
    path = Path(directory) / name
    if not path.is_file() or sha256_file(path) != manifest.hashes[name]:
        raise InputError(f"{path} is missing or damaged; prepare the data again")
