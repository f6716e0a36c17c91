"""Prepare: raw clips and labels in, a directory of records out."""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from emsa_jax.data.media import Broken
from emsa_jax.data.readers import read_samples
from emsa_jax.data.records import MANIFEST, SCHEMA, Manifest, PrepareOptions, entry, read_manifest, verify
from emsa_jax.data.records.seal import seal
from emsa_jax.data.records.shards import ShardWriter
from emsa_jax.data.sample import SPLITS, Sample
from emsa_jax.data.workers import encode_all
from emsa_jax.errors import InputError
from emsa_jax.manifest import fsync, sha256_file

_NOT_CONTENT = ("workers", "shard_bytes", "timeout_seconds")  # options that do not change what a record holds


def progress_bar(items: Iterable, total: int) -> Iterator:
    """A bar with counts and the time left."""
    columns = (TextColumn("prepare"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        yield from bar.track(items, total=total)


def prepare(
    source: str | Path,
    out_dir: str | Path,
    options: PrepareOptions,
    score_range: tuple[float, float],
    language: str,
    progress: Callable[[Iterable, int], Iterator] = progress_bar,
) -> Manifest:
    """Decodes the clips of `source` (see `read_samples`) into records in `out_dir`, and returns the manifest.

    The records are built in `<out_dir>.partial`, which takes its final name when all is written: a run killed
    on the way leaves no `out_dir`. The same inputs give the same bytes; records of the same inputs that
    verify are reused, damaged ones made again. A clip that is missing or does not decode is set aside with
    its reason; when half of all clips are, that is an InputError, as are bad labels and an `out_dir` that
    holds anything else.
    """
    out_dir = Path(out_dir).absolute()
    samples = read_samples(source, score_range, language)
    sources = _sources(samples)
    inputs = _inputs_hash(samples, sources, options, score_range)
    if (made := _reusable(out_dir, inputs)) is not None:
        return made

    clips = [s for s in samples if s.video or s.audio]
    quarantined = [_aside(s, sources[s.id]) for s in clips if isinstance(sources[s.id], Broken)]
    _check_share(quarantined, len(clips))

    tasks = [(s, sources[s.id]) for s in samples if not isinstance(sources[s.id], Broken)]
    with _partial(out_dir) as directory:
        writers = {split: ShardWriter(directory, split, options.shard_bytes) for split in SPLITS}
        entries = {split: [] for split in SPLITS}
        with closing(encode_all(tasks, options)) as records:
            for sample, record in progress(records, len(tasks)):
                if isinstance(record, Broken):
                    quarantined.append(_aside(sample, record))
                    _check_share(quarantined, len(clips))
                else:
                    writers[sample.split].add(record)
                    entries[sample.split].append(entry(record))
        manifest = seal(
            directory,
            [shard for split in SPLITS for shard in writers[split].close()],
            [e for split in SPLITS for e in entries[split]],
            score_range,
            quarantined,
            options,
            inputs,
        )
    return manifest


def _aside(sample: Sample, reason: Broken) -> dict[str, str]:
    return {"id": sample.id, "reason": str(reason)}


def _sources(samples: list[Sample]) -> dict[str, str | Broken]:
    """For each sample id the sha256 of its media ("" without any), or why they cannot be read."""

    def source(sample: Sample) -> str | Broken:
        hashes = []
        for path in filter(None, (sample.video, sample.audio)):
            try:
                hashes.append(sha256_file(path))
            except FileNotFoundError:
                return Broken(f"there is no file {path}")
            except OSError as error:
                return Broken(f"{path} cannot be read: {error.strerror}")
        if len(hashes) < 2:
            return "".join(hashes)
        return hashlib.sha256(" ".join(hashes).encode()).hexdigest()

    with ThreadPoolExecutor(4) as threads:
        return dict(zip((s.id for s in samples), threads.map(source, samples), strict=True))


def _inputs_hash(
    samples: list[Sample],
    sources: dict[str, str | Broken],
    options: PrepareOptions,
    score_range: tuple[float, float],
) -> str:
    """sha256 of all that decides what the records hold; not of where the files lie."""
    content = {k: v for k, v in asdict(options).items() if k not in _NOT_CONTENT}
    sha = hashlib.sha256(json.dumps([SCHEMA, content, list(map(float, score_range))]).encode())
    for s in samples:
        media = "missing" if isinstance(sources[s.id], Broken) else sources[s.id]
        row = [s.id, s.text, s.score, s.split, s.language, bool(s.video), bool(s.audio), media]
        sha.update(json.dumps(row).encode())
    return sha.hexdigest()


def _reusable(out_dir: Path, inputs: str) -> Manifest | None:
    """The manifest of sound records of these inputs; None where they are to be made, or made again."""
    if not out_dir.exists():
        return None
    if not out_dir.is_dir() or any(out_dir.iterdir()) and not (out_dir / MANIFEST).is_file():
        raise InputError(f"{out_dir} exists and holds no records; name another directory for them")
    try:
        manifest = read_manifest(out_dir)
        if manifest.inputs == inputs:
            verify(out_dir)
            return manifest
    except InputError:
        return None
    raise InputError(f"{out_dir} holds records of other clips, labels or options; "
                     "remove it or name another directory")  # fmt: skip


def _check_share(quarantined: list[dict[str, str]], num_clips: int) -> None:
    if num_clips and 2 * len(quarantined) >= num_clips:
        first = quarantined[0]
        share = "all" if len(quarantined) == num_clips else "half or more"
        raise InputError(f"{share} of the {num_clips} clips are missing or broken; "
                         f"the first, {first['id']}: {first['reason']}")  # fmt: skip


@contextmanager
def _partial(out_dir: Path) -> Iterator[Path]:
    """A directory to fill, which becomes `out_dir` if nothing goes wrong and vanishes if something does."""
    partial, old = (out_dir.with_name(out_dir.name + suffix) for suffix in (".partial", ".old"))
    partial.mkdir(parents=True, exist_ok=True)
    lock = os.open(partial, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"another prepare is writing {partial}; wait for it to end") from None
        for left in partial.iterdir():  # by a run that was killed
            left.unlink()
        shutil.rmtree(old, ignore_errors=True)
        try:
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        if out_dir.exists() and any(out_dir.iterdir()):
            os.replace(out_dir, old)
        os.replace(partial, out_dir)
        fsync(out_dir.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        os.close(lock)
