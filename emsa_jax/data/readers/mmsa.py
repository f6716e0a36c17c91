"""The MMSA layout of CMU-MOSI, CMU-MOSEI and CH-SIMS: `label.csv`, `Raw/<video_id>/<clip_id>.mp4`."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.labels_csv import Where
from emsa_jax.data.readers import clips
from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.cells import is_rewritten, known_score_of, lost_id, name_of, split_of
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

NEEDED = ("video_id", "clip_id", "text", "label", "mode")
HEADER = ("video_id", "clip_id", "text", "label", "label_T", "label_A", "label_V", "annotation", "mode")
FILES = ("label.csv", "meta.csv")
UNIMODAL = ("label_T", "label_A", "label_V")


def read_mmsa(path: Path, options: ReadOptions) -> list[Sample]:
    """path: the data set's directory; or its csv, which stands for the words alone where no `Raw` lies beside it.

    Ids are `<video_id>$_$<clip_id>`; clip id `1` finds the file `0001.mp4` too. Copies that lack the line of column
    names have the columns of `HEADER`.
    """
    table = labels_file(path, FILES)
    found = Collection(table, options)
    for where, row in labels_csv.rows(table, NEEDED, HEADER):
        found.add(where, labelled(row, where, path, options))
    return found.samples()


def labels_file(path: Path, names: Sequence[str]) -> Path:
    """The path itself, or the first of the names that its directory holds."""
    tables = [path / name for name in names if os.path.isfile(path / name)] if path.is_dir() else [path]
    if not tables:
        expected = f"expected {names[0]} and Raw/<video_id>/<clip_id>.mp4{clips.spreadsheets(path)}"
        raise InputError(f"{path} holds no {names[0]}; {expected}")
    return tables[0]


def labelled(row: dict[str, str], where: Where, path: Path, options: ReadOptions) -> Sample:
    """The sample of a row with a mode, and a label unless that is test."""
    split = split_of(row["mode"], where)
    return clip_of(row, where, path, options, split, known_score_of(row["label"], split, options.score_range, where))


def clip_of(
    row: dict[str, str], where: Where, path: Path, options: ReadOptions, split: str, score: float | None
) -> Sample:
    """The sample of a row's ids and text; `path` as `read_mmsa` takes it. Ids that lost their form on the way through
    a spreadsheet get it back from the names of folder and file."""
    video_id, clip_id = (name_of(row[column], column, where) for column in ("video_id", "clip_id"))
    raw, video = clips.folder_of(path) / "Raw", ""
    if path.is_dir() or raw.is_dir():
        video_id = clips.folder_named(raw, video_id, "video_id", where)
        clip_id, video = clips.clip_named(raw / video_id, clip_id, "clip_id", where)
    for column, name in (("video_id", video_id), ("clip_id", clip_id)):
        if is_rewritten(name):
            raise lost_id(name, column, where)
    return Sample(
        id=f"{video_id}$_${clip_id}",
        text=row["text"],
        score=score,
        split=split,
        video=video,
        language=options.language,
        concepts=unimodal(row),
    )


def unimodal(row: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What each modality alone says, where a row has a number for all three (CH-SIMS; CMU-MOSI leaves them empty)."""
    cells = tuple((name, row.get(name, "").strip()) for name in UNIMODAL)
    return cells if all(_is_number(cell) for _, cell in cells) else ()


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
