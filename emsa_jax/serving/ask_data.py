"""Predictions about many clips, as a csv: one row a clip, in the order of the table or of the files' names."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from emsa_jax.data.media import Broken
from emsa_jax.data.readers.cells import id_of, language_of
from emsa_jax.data.readers.clips import SOUNDS, SUFFIXES, located
from emsa_jax.data.readers.rows import rows as table_rows
from emsa_jax.data.records import Clip, Entry, entry, unpack
from emsa_jax.data.sample import Sample
from emsa_jax.data.workers import encode_all
from emsa_jax.distill.review_csv import guarded
from emsa_jax.errors import InputError
from emsa_jax.manifest import write_atomic
from emsa_jax.rollout.answering import asked_clips, compile_answers, predict
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.rollout_options import SamplingOptions
from emsa_jax.rollout.sampler import Completions
from emsa_jax.runtime.console import Advance
from emsa_jax.runtime.programs import Programs
from emsa_jax.serving.opened_policy import OpenedPolicy
from emsa_jax.serving.questions import ask_about
from emsa_jax.serving.replies import reading_of

COLUMNS = ("id", "polarity", "score", "sentiment", "reasoning", "well_formed", "seen", "answer", "error")
NEEDED, OPTIONAL = ("id", ("text", "video", "audio")), ("text", "video", "audio", "language")


def read_questions(data: Path, language: str) -> list[Sample]:
    """The clips of a csv or jsonl with the columns id, text, video and audio (paths relative to it; a label may be
    there, and is not read), or of a folder: each video or sound below it, a sound and a text file (.txt) of the same
    name going with a video. language: of clips that name none. Raises InputError naming the file, line and field."""
    if not data.exists():
        raise InputError(f"config.data: {data} does not exist; give a folder of media, or a csv or jsonl")
    found = _of_folder(data, language) if data.is_dir() else list(_of_table(data, language))
    if not found:
        kinds = ", ".join(SUFFIXES + SOUNDS)
        raise InputError(f"config.data: there is no clip in {data}" + (f" ({kinds})" if data.is_dir() else ""))
    return found


def _of_table(path: Path, language: str) -> Iterator[Sample]:
    seen: set[str] = set()
    for where, row in table_rows(path, NEEDED, OPTIONAL):
        cell = {name: row.get(name, "").strip() for name in OPTIONAL}
        video, audio = (located(path.parent, cell[name], where) if cell[name] else "" for name in ("video", "audio"))
        if not (cell["text"] or video or audio):
            raise InputError(f"{where}: text, video and audio are all empty")
        id = id_of(row["id"], "id", where)
        if not id or id in seen:
            raise InputError(f"{where}: id {id!r} " + ("was given before" if id else "is empty"))
        seen.add(id)
        yield Sample(
            id=id,
            text=row.get("text", ""),
            score=None,
            split="test",
            video=video,
            audio=audio,
            language=language_of(cell["language"] or language, where),
        )


def _of_folder(folder: Path, language: str) -> list[Sample]:
    clips: dict[str, dict[str, str]] = {}
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        kind = "video" if suffix in SUFFIXES else "audio" if suffix in SOUNDS else ""
        if kind and path.is_file() and not path.name.startswith("."):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if kind in clips.setdefault(name, {}):
                raise InputError(f"{path}: there is another {kind} of the same name; rename one of them")
            clips[name][kind] = str(path.absolute())
    for name, clip in clips.items():
        words = folder / f"{name}.txt"
        clip["text"] = words.read_text(encoding="utf-8", errors="replace") if words.is_file() else ""
    return [Sample(id=name, score=None, split="test", language=language, **clip) for name, clip in clips.items()]


@dataclass(frozen=True)
class _Kept:
    """Records in a file, by (place, length)."""

    file: BinaryIO
    places: Sequence[tuple[int, int]]

    def __getitem__(self, index: int) -> Clip:
        place, length = self.places[index]
        self.file.seek(place)
        return unpack(self.file.read(length))


def predict_csv(
    policy: OpenedPolicy,
    samples: Sequence[Sample],
    out: Path,
    sampling: SamplingOptions,
    seed: int,
    batch_size: int,
    progress: Callable[[int, str], Any],
) -> tuple[int, int]:
    """Asks about all samples, and writes the csv when all is answered. progress: (total, what) -> context of `advance`.

    Returns (clips that were answered, clips that could not be: their reason is in the column error). Raises
    InputError for clips none of which can be asked about."""
    rows: dict[str, dict[str, Any]] = {sample.id: {"id": sample.id} for sample in samples}
    with tempfile.TemporaryFile() as file:
        kept, entries = _decode(policy, samples, file, rows, progress)
        if not entries:
            error = next(row["error"] for row in rows.values())
            raise InputError(f"none of the {len(samples)} clips can be asked about; the first: {error}")
        lengths = np.array([policy.prompter.length(one) for one in entries])
        split = Split(None, policy.prompter, entries, lengths, kept, np.arange(len(entries)))
        with progress(len(entries), "asking") as advance:
            _answer(policy, split, rows, sampling, seed, batch_size, advance)
    _write(out, list(rows.values()))
    return len(entries), len(samples) - len(entries)


def _decode(
    policy: OpenedPolicy, samples: Sequence[Sample], file: BinaryIO, rows: dict, progress: Callable
) -> tuple[_Kept, list[Entry]]:
    """The records of the samples that the policy can be shown, and their entries; the others get an error."""
    places, entries = [], []
    with progress(len(samples), "decoding") as advance:
        for sample, record in encode_all([(sample, "") for sample in samples], policy.prepare):
            advance()
            if isinstance(record, Broken):
                rows[sample.id]["error"] = str(record)
                continue
            try:
                rows[sample.id]["seen"] = ask_about(policy, unpack(record)).seen.line()
            except InputError as error:
                rows[sample.id]["error"] = str(error)
                continue
            places.append((file.tell(), len(record)))
            file.write(record)
            entries.append(entry(record))
    return _Kept(file, places), entries


def _answer(
    policy: OpenedPolicy,
    split: Split,
    rows: dict,
    sampling: SamplingOptions,
    seed: int,
    batch_size: int,
    advance: Advance,
) -> None:
    placement = policy.placement
    asked = asked_clips(split, batch_size, placement.sharding.num_shards)
    compiled = compile_answers(
        Programs(placement.decode),
        "ask",
        policy.base,
        policy.adapter,
        policy.config,
        inputs={bucket: placement.inputs(one.shape, one.rows) for bucket, one in asked.items()},
        sampling=sampling,
        group_size=1,
    )

    def run(bucket: int, *rest: Any) -> Completions:
        return compiled[bucket](policy.base, policy.adapter, *rest)

    for places, texts, _ in predict(split, run, batch_size, seed, placement.sharding):
        for place, (text,) in zip(places, texts, strict=True):
            reading = reading_of(policy.format.parse(text))
            row = rows[split.entries[place].id]
            row.update({name: reading[name] for name in COLUMNS if name in reading}, answer=text.removesuffix("\x00"))
        advance(len(places))


def _write(out: Path, rows: list[dict[str, Any]]) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cells = {name: "" if value is None else value for name, value in row.items()}
        writer.writerow({n: guarded(value) if isinstance(value, str) else value for n, value in cells.items()})
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, buffer.getvalue().encode("utf-8", "surrogatepass"))
