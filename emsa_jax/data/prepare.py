"""Prepare: raw clips and labels in, a directory of records out."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from emsa_jax.data.building import building, tidy
from emsa_jax.data.data_options import (
    FPS_FRAMES,
    JPEG_QUALITY,
    LABELLED_ALONE,
    MIN_PIXELS,
    PrepareOptions,
    ReadingOptions,
)
from emsa_jax.data.facts import facts_of
from emsa_jax.data.findings import findings
from emsa_jax.data.media import Broken
from emsa_jax.data.media_hashes import hash_inputs, hash_media
from emsa_jax.data.readers import read_samples
from emsa_jax.data.records import MANIFEST, SCHEMA, Entry, Manifest, read_manifest, verify
from emsa_jax.data.records.outcomes import Outcomes
from emsa_jax.data.records.records_manifest import add_token_lengths, write_records_manifest
from emsa_jax.data.records.shards import sound_records
from emsa_jax.data.sample import SPLITS, Sample
from emsa_jax.data.unnamed import unnamed_files
from emsa_jax.data.workers import TIMEOUT_SECONDS, encode_all
from emsa_jax.errors import InputError

SHARD_BYTES = 256 * 2**20  # a shard is closed when it has grown beyond this


def progress_bar(items: Iterable, total: int) -> Iterator:
    """A bar with counts and the time left."""
    columns = (TextColumn("prepare"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar:
        yield from bar.track(items, total=total)


def prepare(
    source: str | Path,
    out_dir: str | Path,
    options: PrepareOptions,
    score_range: tuple[float, float] | None = None,
    language: str = "",
    progress: Callable[[Iterable, int], Iterator] = progress_bar,
    *,
    dataset: str = "",
    token_length: Callable[[Entry], int] | None = None,
    reading: ReadingOptions = LABELLED_ALONE,
    shard_bytes: int = SHARD_BYTES,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> Manifest:
    """Decodes the clips of `source` into records in `out_dir`, and returns the manifest.

    dataset, score_range, language, reading: as `read_samples` takes them. progress: wraps an iterable of known
    length; shown while media are hashed, and again while they are decoded. token_length: tokens of a clip's prompt,
    of which the manifest then gives quantiles and bucket boundaries. shard_bytes: a shard is closed when it has grown
    beyond this. timeout_seconds: a clip whose decoding takes longer is quarantined.

    The records are built in `<out_dir>.partial`, which a run that is killed or stopped leaves for the next to go on
    with: that one does what is missing, and ends with the same bytes. Records of the same inputs that verify are
    kept; of damaged ones, only what is damaged is made again. A clip that is missing or does not decode is
    quarantined with its reason; more than `options.max_bad_share` of them are an InputError, as are bad labels, a
    full disk, and an `out_dir` that holds anything else.
    """
    out_dir = Path(out_dir).absolute()
    samples = read_samples(source, score_range, language, dataset, reading)
    score_range = score_range or facts_of(dataset).score_range
    hashes = hash_media(samples, progress)
    inputs = hash_inputs(samples, hashes, [SCHEMA, dataset, list(map(float, score_range)), _content(options)])
    if (made := _reusable(out_dir, inputs)) is not None:
        return made if token_length is None else add_token_lengths(out_dir, made, token_length)

    num_clips = sum(bool(s.video or s.audio) for s in samples)
    missing = {id: str(reason) for id, reason in hashes.items() if isinstance(reason, Broken)}
    _check_share(missing, num_clips, options)
    with building(out_dir, f"{inputs} {shard_bytes}") as place:
        outcomes = {split: Outcomes(place.records, place.work, split, shard_bytes) for split in SPLITS}
        reusable = sound_records(out_dir, inputs)
        reasons = _encode_missing(
            samples, hashes, missing, options, outcomes, reusable, progress, timeout=timeout_seconds
        )
        entries = [e for split in SPLITS for e in outcomes[split].entries]
        if not entries:
            raise InputError(f"none of the {len(samples)} samples of {source} could be prepared; {_first(reasons)}")
        shards = [shard for split in SPLITS for shard in outcomes[split].shards]
        for left in {p.name for p in place.records.iterdir()} - {s["name"] for s in shards}:  # by a run that was killed
            (place.records / left).unlink()
        return write_records_manifest(
            place.records,
            shards,
            entries,
            score_range,
            quarantined=[{"id": s.id, "reason": reasons[s.id]} for s in samples if s.id in reasons],
            options=options,
            inputs=inputs,
            dataset=dataset,
            token_length=token_length,
            findings=findings(samples, entries, reasons, score_range, unnamed_files(source, samples)),
        )


def _encode_missing(
    samples: Sequence[Sample],
    hashes: dict[str, str | Broken],
    missing: dict[str, str],
    options: PrepareOptions,
    outcomes: dict[str, Outcomes],
    reusable: dict[str, Callable[[], bytes]],
    progress: Callable[[Iterable, int], Iterator],
    *,
    timeout: float,
) -> dict[str, str]:
    """Gives every sample that has no outcome yet a record or a reason why not. Returns sample id -> reason, of all."""

    def reasons() -> dict[str, str]:
        return missing | {id: reason for split in SPLITS for id, reason in outcomes[split].quarantined.items()}

    num_clips = sum(bool(s.video or s.audio) for s in samples)
    done = missing.keys() | {id for split in SPLITS for id in outcomes[split].done}
    todo = [s for s in samples if s.id not in done]
    _check_share(reasons(), num_clips, options)
    with closing(_records(todo, hashes, options, timeout, reusable)) as records:
        for sample, record in progress(records, len(todo)):
            if isinstance(record, Broken):
                outcomes[sample.split].add(sample.id, None, str(record))
                _check_share(reasons(), num_clips, options)
            else:
                outcomes[sample.split].add(sample.id, record)
    for split in SPLITS:
        outcomes[split].close()
    return reasons()


def _records(
    samples: list[Sample],
    hashes: dict[str, str],
    options: PrepareOptions,
    timeout: float,
    made: dict[str, Callable[[], bytes]],
) -> Iterator[tuple[Sample, bytes | Broken]]:
    """The samples with their records, in order: those that are made already, and the others from the workers."""
    missing = [(s, hashes[s.id]) for s in samples if s.id not in made]
    with closing(encode_all(missing, options, timeout)) as encoded:
        for sample in samples:
            yield (sample, made[sample.id]()) if sample.id in made else next(encoded)


def _content(options: PrepareOptions) -> dict[str, Any]:
    """What decides the content of a record, in the form by which records on disk are known."""
    return {
        "frames": "fps" if options.fps else "uniform",
        "num_frames": options.num_frames,
        "fps": options.fps or 2.0,
        "min_frames": FPS_FRAMES[0],
        "max_frames": FPS_FRAMES[1],
        "min_pixels": MIN_PIXELS,
        "max_pixels": options.max_pixels,
        "frame_format": options.frame_format,
        "jpeg_quality": JPEG_QUALITY,
        "max_seconds": options.max_seconds,
    }


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
            tidy(out_dir)
            return manifest
    except InputError:
        return None
    raise InputError(f"{out_dir} holds records of other clips, labels or options; remove it or name another directory")


def _check_share(reasons: dict[str, str], num_clips: int, options: PrepareOptions) -> None:
    if num_clips and len(reasons) > options.max_bad_share * num_clips:
        raise InputError(
            f"{len(reasons)} of the {num_clips} clips with video or sound are missing or broken, more "
            f"than a share of {options.max_bad_share:g} (max_bad_share); {_first(reasons)}"
        )


def _first(reasons: dict[str, str]) -> str:
    id, reason = next(iter(reasons.items()))
    return f"the first, {id}: {reason}"
