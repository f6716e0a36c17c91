"""Puppet data sets on disk, which go through the same readers as real data: the plain world in the MMSA layout, and the
annotated world as the reader `ch_cems` takes it, with the votes that its labels come from.
"""

import csv
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from emsa_jax.data.annotation.votes import COLUMNS
from emsa_jax.data.child_signals import end_with_the_parent, left_to_the_parent
from emsa_jax.data.puppets.concept_world import (
    FIELDS,
    ConceptPuppet,
    ConceptWorld,
    draw_concept_world,
    labels_of,
    votes_of,
)
from emsa_jax.data.puppets.render import write_clip
from emsa_jax.data.puppets.teacher import POLARITIES, write_concept_traces, write_traces
from emsa_jax.data.puppets.world import DOMAINS, Puppet, PuppetWorld, draw_world
from emsa_jax.disk import told_when_full
from emsa_jax.errors import InputError
from emsa_jax.manifest import fsync

CONCEPT_SCORE_RANGE = (-1.0, 1.0)  # of means of votes, in both domains
LABEL_FIELDS = ("video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V", "annotation", "mode")


def make_puppets(
    out_dir: str | os.PathLike, options: PuppetWorld, progress: Callable[[int, int], None] | None = None
) -> None:
    """Writes a data set to `out_dir`, which must not exist or be empty; all of it appears at once or nothing.

    label.csv                       the MMSA header; label_T: words, label_A and label_V: as drawn
    Raw/<video_id>/<clip_id>.mp4    56 x 56 pixels, 8 frames a second, 16 kHz mono
    latents.csv                     id, split and every latent, for `ceiling`
    traces.jsonl                    {"id", "polarity", "think", "score"} as the teacher wrote them
    info.json                       language, score_range, seed, options, counts

    Equal options (`workers` aside): equal bytes. progress(clips done, clips in all) is called as it goes.
    Raises InputError if `out_dir` is taken.
    """
    with staged(out_dir) as staging:
        puppets = draw_world(options)
        write_clips(staging / "Raw", puppets, options, progress)
        write_csv(staging / "label.csv", [_label_row(p, options) for p in puppets])
        write_csv(staging / "latents.csv", [latent_row(p) for p in puppets])
        write_lines(staging / "traces.jsonl", write_traces(puppets, options))
        write_text(staging / "info.json", json.dumps(_info(options), indent=1, ensure_ascii=False) + "\n")


def make_concept_puppets(
    out_dir: str | os.PathLike, options: ConceptWorld, progress: Callable[[int, int], None] | None = None
) -> None:
    """Writes a data set to `out_dir`, which must not exist or be empty; all of it appears at once or nothing.

    label.csv                       the MMSA columns, concepts, scenario, interaction and speaker; labels are the votes'
    Raw/<video_id>/<clip_id>.mp4    as those of the plain world
    votes.csv                       item, annotator, field, value: what configs/annotate.py takes
    latents.csv, traces.jsonl, info.json

    Equal options (`workers` aside): equal bytes. Raises InputError if `out_dir` is taken.
    """
    with staged(out_dir) as staging:
        puppets = draw_concept_world(options)
        votes = [votes_of(puppet, options) for puppet in puppets]
        write_clips(staging / "Raw", puppets, options, progress)
        write_csv(staging / "label.csv", [_concept_label_row(p, v) for p, v in zip(puppets, votes, strict=True)])
        write_csv(
            staging / "votes.csv", [row for p, v in zip(puppets, votes, strict=True) for row in _ballot_rows(p, v)]
        )
        write_csv(staging / "latents.csv", [latent_row(p) for p in puppets])
        write_lines(staging / "traces.jsonl", write_concept_traces(puppets, options))
        info = {
            "schema": 1,
            "language": DOMAINS[options.domain].language,
            "score_range": list(CONCEPT_SCORE_RANGE),
            "seed": options.seed,
            "options": {k: v for k, v in asdict(options).items() if k != "workers"},
        }
        write_text(staging / "info.json", json.dumps(info, indent=1, ensure_ascii=False) + "\n")


def _concept_label_row(puppet: ConceptPuppet, votes: dict[str, list[str]]) -> dict:
    labels = labels_of(votes)
    return {
        "video_id": puppet.video_id,
        "clip_id": puppet.clip_id,
        "text": puppet.text,
        "label": labels["label"],
        "mode": puppet.split,
        **{field: labels[field] for field in FIELDS},
        "scenario": puppet.scenario,
        "interaction": puppet.interaction,
        "speaker": puppet.video_id,
    }


def _ballot_rows(puppet: ConceptPuppet, votes: dict[str, list[str]]) -> list[dict]:
    return [
        dict(zip(COLUMNS, (puppet.id, f"annotator{i + 1}", field, value), strict=True))
        for field, given in votes.items()
        for i, value in enumerate(given)
    ]


@contextmanager
def staged(out_dir: str | os.PathLike) -> Iterator[Path]:
    """A directory to fill, which then takes its place as `out_dir`, synced to disk; of a failure nothing is left."""
    out = Path(out_dir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not an empty folder; remove it or name another")
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = out.with_name(f"{out.name}.part")
    shutil.rmtree(staging, ignore_errors=True)  # what a killed start left
    try:
        with told_when_full(out):
            staging.mkdir()
            yield staging
            for folder in [p for p in staging.rglob("*") if p.is_dir()] + [staging]:
                fsync(folder)
            os.replace(staging, out)
            fsync(out.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def write_clips(
    raw: Path, puppets: list[Puppet], options: PuppetWorld, progress: Callable[[int, int], None] | None
) -> None:
    """The mp4 of each puppet below `raw`; progress: as `make_puppets` takes it."""
    progress = progress or (lambda *_: None)
    for video_id in {p.video_id for p in puppets}:
        (raw / video_id).mkdir(parents=True)
    chunks = [puppets[i : i + 32] for i in range(0, len(puppets), 32)]
    write = partial(_write_chunk, str(raw), options.domain)
    workers = min(options.workers or os.cpu_count() or 1, len(chunks))
    done = 0
    if workers == 1:
        for chunk in chunks:
            done += write(chunk)
            progress(done, len(puppets))
        return
    # spawned, not forked: the parent may hold threads (JAX, Grain)
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_the_parent)
    try:
        with left_to_the_parent():  # all workers are started by the first task
            written = [pool.submit(write, chunk) for chunk in chunks]
        for one in written:
            done += one.result()
            progress(done, len(puppets))
    finally:
        pool.shutdown(cancel_futures=True)


def _write_chunk(raw: str, domain: str, puppets: list[Puppet]) -> int:
    for p in puppets:
        write_clip(os.path.join(raw, p.video_id, f"{p.clip_id}.mp4"), p, DOMAINS[domain])
    return len(puppets)


def _label_row(p: Puppet, options: PuppetWorld) -> dict:
    unit = DOMAINS[options.domain].score_max / 5
    words, drawn = round(2 * p.valence * unit, 2), round(p.drawn * unit, 2)
    annotation = POLARITIES[int(np.sign(p.level))]
    values = (p.video_id, p.clip_id, p.text, p.score, words, drawn, drawn, annotation, p.split)
    return dict(zip(LABEL_FIELDS, values, strict=True))


def latent_row(p: Puppet) -> dict:
    """Id and every latent of a puppet."""
    row = asdict(p)
    del row["key"]
    speaker = row.pop("speaker")
    return {"id": p.id, **row, **{f"speaker_{name}": round(value, 4) for name, value in speaker.items()}}


def _info(options: PuppetWorld) -> dict:
    domain = DOMAINS[options.domain]
    chosen = {name: value for name, value in asdict(options).items() if name != "workers"}
    return {
        "schema": 1,
        "language": domain.language,
        "score_range": [-domain.score_max, domain.score_max],
        "seed": options.seed,
        "options": chosen,
    }


def write_csv(path: Path, rows: list[dict]) -> None:
    """Rows of equal keys, synced to disk."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())


def write_lines(path: Path, rows: list[dict]) -> None:
    """Rows as jsonl, synced to disk."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_text(path: Path, text: str) -> None:
    """A text, synced to disk."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
