"""The last step of writing records: the index and the manifest, which make a directory of shards a set of records."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.lengths import bucket_boundaries, quantiles
from emsa_jax.data.records.record import SCHEMA, Entry
from emsa_jax.data.records.records_manifest import INDEX, MANIFEST, Manifest, digest, read_index
from emsa_jax.data.sample import SPLITS
from emsa_jax.manifest import write_atomic

_SOFTWARE = ("av", "numpy", "pillow", "soundfile", "soxr")


def seal(
    directory: str | Path,
    shards: Iterable[dict[str, Any]],
    entries: Sequence[Entry],
    score_range: tuple[float, float],
    quarantined: Sequence[dict[str, str]] = (),
    options: PrepareOptions | None = None,
    inputs: str = "",
    dataset: str = "",
    token_length: Callable[[Entry], int] | None = None,
) -> Manifest:
    """Writes index.jsonl and, last of all, manifest.json beside the shards; returns the manifest.

    shards: as `ShardWriter` describes them, split by split; entries: of all their records, in that order, one at
    least. token_length: tokens of a clip's prompt, from which bucket boundaries are chosen; None: they are left out.
    """
    shards = list(shards)
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
        digest=digest(hashes),
        quantiles={name: quantiles(values) for name, values in lengths.items()},
        boundaries=[],
        max_frames=max(lengths["frames"]),
        max_pixels=max(e.height * e.width * (e.num_frames > 0) for e in entries),
        max_mel_frames=max(lengths["mel_frames"]),
        max_text_length=max(text),
        mean_text_length=sum(text) / len(text),
        software={name: metadata.version(name) for name in _SOFTWARE},
    )
    if token_length is not None:
        manifest = _with_tokens(manifest, [token_length(e) for e in entries])
    _write_manifest(directory, manifest)
    return manifest


def tell_tokens(directory: str | Path, manifest: Manifest, token_length: Callable[[Entry], int]) -> Manifest:
    """The manifest of finished records with these token lengths, written anew where it had others or none."""
    told = _with_tokens(manifest, [token_length(e) for split in SPLITS for e in read_index(directory, split)])
    if told != manifest:
        _write_manifest(directory, told)
    return told


def _with_tokens(manifest: Manifest, tokens: Sequence[int]) -> Manifest:
    told = {**manifest.quantiles, "tokens": quantiles(tokens)}
    return replace(manifest, quantiles=told, boundaries=bucket_boundaries(tokens))


def _write_manifest(directory: str | Path, manifest: Manifest) -> None:
    content = json.dumps(asdict(manifest), ensure_ascii=False, indent=1, allow_nan=False)
    write_atomic(Path(directory) / MANIFEST, content.encode() + b"\n")


def _write_index(directory: str | Path, entries: Iterable[Entry]) -> str:
    lines = "".join(json.dumps(asdict(e), ensure_ascii=False) + "\n" for e in entries).encode()
    write_atomic(Path(directory) / INDEX, lines)
    return hashlib.sha256(lines).hexdigest()
