"""The index and the manifest of a directory of records, which say what it holds and are written last."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.length_buckets import choose_buckets
from emsa_jax.data.records.manifest_fields import MANIFEST_FIELDS
from emsa_jax.data.records.record import SCHEMA, Entry, entry_of
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError
from emsa_jax.json_file import misfit
from emsa_jax.manifest import sha256_file, write_atomic

MANIFEST, INDEX = "manifest.json", "index.jsonl"
_SOFTWARE = ("av", "numpy", "pillow", "soundfile", "soxr")
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


@dataclass(frozen=True, kw_only=True)
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
    findings: dict[str, Any] = field(default_factory=dict)  # what to know of it, as `data.findings` gives it; or {}


def write_records_manifest(
    directory: str | Path,
    shards: Sequence[dict[str, Any]],
    entries: Sequence[Entry],
    score_range: tuple[float, float],
    *,
    quarantined: Sequence[dict[str, str]] = (),
    options: PrepareOptions | None = None,
    inputs: str = "",
    dataset: str = "",
    token_length: Callable[[Entry], int] | None = None,
    findings: Mapping[str, Any] | None = None,
) -> Manifest:
    """Writes index.jsonl and, last of all, manifest.json beside the shards, which makes these a set of records.

    shards: as `ShardWriter` describes them, split by split. entries: of all their records, in that order, at least one.
    quarantined: {"id", "reason"} of the samples that have no record. inputs: sha256 of samples, media and options.
    token_length: entry -> tokens of its prompt, from which bucket boundaries are chosen; None leaves these out.
    findings: what is to be known of the set, as `data.findings` gives it. Returns the manifest.
    """
    hashes = {shard["name"]: shard["sha256"] for shard in shards} | {INDEX: _write_index(directory, entries)}
    text = [len(e.text) for e in entries]
    lengths = {
        "text": text,
        "frames": [e.num_frames for e in entries],
        "mel_frames": [e.mel_frames for e in entries],
        "seconds": [e.seconds for e in entries],
    }
    manifest = Manifest(
        schema=SCHEMA,
        dataset=dataset,
        inputs=inputs,
        score_range=(float(score_range[0]), float(score_range[1])),
        languages=sorted({e.language for e in entries}),
        samples={split: sum(e.split == split for e in entries) for split in SPLITS},
        quarantined=list(quarantined),
        options={k: v for k, v in asdict(options or PrepareOptions()).items() if k != "workers"},
        files=[{k: v for k, v in shard.items() if k != "sha256"} for shard in shards],
        hashes=hashes,
        digest=_digest(hashes),
        quantiles={name: quantiles(values) for name, values in lengths.items()},
        boundaries=[],
        max_frames=max(lengths["frames"]),
        max_pixels=max(e.height * e.width * (e.num_frames > 0) for e in entries),
        max_mel_frames=max(lengths["mel_frames"]),
        max_text_length=max(text),
        mean_text_length=sum(text) / len(text),
        software={name: metadata.version(name) for name in _SOFTWARE},
        findings=dict(findings or {}),
    )
    if token_length is not None:
        manifest = _with_tokens(manifest, [token_length(e) for e in entries])
    _write_manifest(directory, manifest)
    return manifest


def add_token_lengths(directory: str | Path, manifest: Manifest, token_length: Callable[[Entry], int]) -> Manifest:
    """The manifest of finished records with these token lengths; it is written anew where it had others or none."""
    changed = _with_tokens(manifest, [token_length(e) for split in SPLITS for e in read_index(directory, split)])
    if changed != manifest:
        _write_manifest(directory, changed)
    return changed


def read_manifest(directory: str | Path) -> Manifest:
    """The manifest of a directory of records; InputError where there is none or it is of another schema."""
    path = Path(directory) / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{directory} holds no {MANIFEST}: run prepare on it first") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}); prepare the data again") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise InputError(f"{path} has schema {schema!r}, this version reads {SCHEMA}; prepare the data again")
    if wrong := misfit(content, MANIFEST_FIELDS, "") or _contradiction(content):
        raise InputError(f"{path} is damaged ({wrong}); prepare the data again")
    low, high = map(float, content["score_range"])
    return Manifest(**{**content, "score_range": (low, high)})


def _contradiction(content: Mapping[str, Any]) -> str:
    """What two fields of a manifest do not agree in; "" if they all do."""
    low, high = content["score_range"]
    files, samples, boundaries = content["files"], content["samples"], content["boundaries"]
    held = {split: sum(f["records"] for f in files if f["split"] == split) for split in SPLITS}
    checks = {
        "score_range does not rise": low < high,
        "samples and files disagree": held == samples,
        "files are not in the order of their splits": [f["split"] for f in files]
        == sorted((f["split"] for f in files), key=SPLITS.index),
        "a file's name is a path": all(f["name"] == Path(f["name"]).name for f in files),
        "files and hashes disagree": [*(f["name"] for f in files), INDEX] == list(content["hashes"]),
        "digest and hashes disagree": _digest(content["hashes"]) == content["digest"],
        "quantiles are not those of numbers": {"text", "frames", "mel_frames", "seconds"} <= content["quantiles"].keys()
        and all(list(shares) == [f"{q:g}" for q in _QUANTILES] for shares in content["quantiles"].values()),
        "boundaries do not rise": boundaries == sorted(set(boundaries) - {0}),
    }
    return next((name for name, holds in checks.items() if not holds), "")


def read_index(directory: str | Path, split: str) -> list[Entry]:
    """The entries of one split, in record order. The file is checked against its hash."""
    manifest = read_manifest(directory)
    _check_file(directory, manifest, INDEX)
    path = Path(directory) / INDEX
    try:
        entries = [entry_of(row) for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())]
    except (ValueError, RecursionError) as error:
        reason = str(error).removesuffix("; prepare the data again")
        raise InputError(f"{path} is damaged ({reason}); prepare the data again") from error
    if {s: sum(e.split == s for e in entries) for s in SPLITS} != manifest.samples:
        raise InputError(f"{path} and {MANIFEST} disagree on how many records there are; prepare the data again")
    low, high = manifest.score_range
    if beyond := next((e for e in entries if e.score is not None and not low <= e.score <= high), None):
        outside = f"{beyond.id!r} has the score {beyond.score:g}, outside of [{low:g}, {high:g}]"
        raise InputError(f"{path}: {outside}, the range of the set; prepare the data again")
    return [e for e in entries if e.split == split]


def verify(directory: str | Path) -> None:
    """Compares every file with its sha256 in the manifest; InputError naming the first that differs."""
    manifest = read_manifest(directory)
    for name in manifest.hashes:
        _check_file(directory, manifest, name)


def quantiles(lengths: Sequence[float]) -> dict[str, float]:
    """{"0.5": the length that half of the clips do not exceed, ...}; lengths that occur, not means of two."""
    found = np.quantile(np.asarray(lengths), _QUANTILES, method="inverted_cdf")
    return {f"{q:g}": length for q, length in zip(_QUANTILES, found.tolist(), strict=True)}


def _digest(hashes: Mapping[str, str]) -> str:
    """One sha256 for all shards and the index."""
    return hashlib.sha256("".join(f"{name} {sha}\n" for name, sha in hashes.items()).encode()).hexdigest()


def _check_file(directory: str | Path, manifest: Manifest, name: str) -> None:
    path = Path(directory) / name
    if not path.is_file() or sha256_file(path) != manifest.hashes[name]:
        raise InputError(f"{path} is missing or damaged; prepare the data again")


def _with_tokens(manifest: Manifest, tokens: Sequence[int]) -> Manifest:
    measured = {**manifest.quantiles, "tokens": quantiles(tokens)}
    return replace(manifest, quantiles=measured, boundaries=list(choose_buckets(tokens)))


def _write_manifest(directory: str | Path, manifest: Manifest) -> None:
    content = json.dumps(asdict(manifest), ensure_ascii=False, indent=1, allow_nan=False)
    write_atomic(Path(directory) / MANIFEST, content.encode() + b"\n")


def _write_index(directory: str | Path, entries: Iterable[Entry]) -> str:
    lines = "".join(json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in entries).encode()
    write_atomic(Path(directory) / INDEX, lines)
    return hashlib.sha256(lines).hexdigest()
