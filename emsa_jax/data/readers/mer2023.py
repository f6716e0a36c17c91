"""The labelled clips of MER2023 and of MER2025's track 1: six emotions, and valence where it is given."""

import os
from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.labels_csv import Where
from emsa_jax.data.readers import clips, mer_folder
from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.cells import class_of
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

TABLES = {
    "train-label.csv": "train",
    "test1-label.csv": "test",
    "test2-label.csv": "test",
    "test3-label.csv": "test",
    "track1_train_disdim.csv": "train",
    "track1_test_dis.csv": "test",
}
PLACES = ("", "mer2023train", "test-labels", "test_labels")
CANDIDATES = "track_all_candidates.csv"


def read_mer2023(path: Path, options: ReadOptions) -> list[Sample]:
    """path: the challenge's directory, or one table of labels (columns name, discrete, and perhaps valence).

    The score is the valence. There is no official valid part. `unlabelled` adds the candidates of MER2025,
    or all other clips of MER2023's `test3`.
    """
    places = [path / place / name for name in TABLES for place in PLACES]
    tables = [table for table in places if os.path.isfile(table)] if path.is_dir() else [path]
    if not tables:
        raise InputError(f"{path} holds none of {', '.join(TABLES)}{clips.spreadsheets(path)}")
    clip, words = mer_folder.finder(path), mer_folder.transcripts(path, options.language)
    found = Collection(path, options)

    def add(where: Where, name: str, label: str, score: float | None, split: str) -> None:
        text = words.get(name, "")
        found.add(where, Sample(name, text, score, split, clip(name, where), language=options.language, label=label))

    for table in tables:
        split = TABLES.get(table.name, options.reading.split)
        for where, row in labels_csv.rows(table, ("name", "discrete")):
            name, label = clips.name_in(row["name"], "name", where), class_of(row["discrete"], "discrete", where)
            score = mer_folder.valence_of(row.get("valence", ""), options.score_range, where)
            if not label and (score is None or not row["discrete"].strip()):
                what = f"{row['discrete'].strip()!r} is no emotion" if row["discrete"].strip() else "is empty"
                raise InputError(f"{where}: discrete {what}; it must name an emotion")
            add(where, name, label, score, split)
    if options.reading.unlabelled and path.is_dir():
        for where, name in _candidates(path):
            if name not in found:
                add(where, name, "", None, "train")
    return found.samples()


def _candidates(path: Path) -> list[tuple[Where, str]]:
    table = path / CANDIDATES
    if os.path.isfile(table):
        return [(where, clips.name_in(row["name"], "name", where)) for where, row in labels_csv.rows(table, ("name",))]
    return [(Where(f"{path / 'test3'}"), stem) for stem in clips.stems(path / "test3")]
