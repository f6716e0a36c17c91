"""CH-SIMS: the MMSA layout, or the first release's `metadata` folder; and CH-SIMS v2 with its unlabelled part."""

import os
from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.labels_csv import Where
from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.cells import known_score_of, name_of, number_of, whole_of
from emsa_jax.data.readers.mmsa import FILES, HEADER, NEEDED, clip_of, labelled, labels_file, read_mmsa
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

V2_FILES = ("meta.csv", "meta(s).csv", "label.csv")
V2_UNLABELLED_FILES = ("meta(u).csv", "meta_u.csv")
V2_UNLABELLED_MODES = ("unlabeled", "unlabelled", "train_mix")


def read_ch_sims(path: Path, options: ReadOptions) -> list[Sample]:
    """The MMSA layout where there is a `label.csv`, else the first release's."""
    is_release = os.path.isfile(path / "metadata" / "sentiment" / "label_M.csv")
    if is_release and not any(os.path.isfile(path / name) for name in FILES):
        return _read_release(path, options)
    return read_mmsa(path, options)


def read_ch_sims_v2(path: Path, options: ReadOptions) -> list[Sample]:
    """The MMSA layout, the table called `meta.csv` or `meta(s).csv`.

    Rows without a label whose mode says so, and all rows of a `meta(u).csv`, are read if `options.reading.unlabelled`.
    """
    table = labels_file(path, V2_FILES)
    found = Collection(table, options)
    if table.name in V2_UNLABELLED_FILES:  # given by its name: then it is asked for
        _add_unlabelled(found, table, path, options)
        return found.samples()
    for where, row in labels_csv.rows(table, NEEDED, HEADER):
        if row["label"].strip() or row["mode"].strip().lower() not in V2_UNLABELLED_MODES:
            found.add(where, labelled(row, where, path, options))
        elif options.reading.unlabelled:
            found.add(where, clip_of(row, where, path, options, "train", None))
    for other in (path / name for name in V2_UNLABELLED_FILES):
        if options.reading.unlabelled and os.path.isfile(other):
            _add_unlabelled(found, other, path, options)
    return found.samples()


def _add_unlabelled(found: Collection, table: Path, path: Path, options: ReadOptions) -> None:
    for where, row in labels_csv.rows(table, ("video_id", "clip_id", "text")):
        found.add(where, clip_of(row, where, path, options, "train", None))


def _read_release(path: Path, options: ReadOptions) -> list[Sample]:
    """`metadata/sentiment/label_M.csv` for the labels, `metadata/{train,val,test}_index.csv` for which of its rows
    (from 0) are in which split, `metadata/Translation.csv` for the words."""
    folder = path / "metadata"
    table = folder / "sentiment" / "label_M.csv"
    labels = list(labels_csv.rows(table, ("video_id", "clip_id", "label")))
    words = _words(folder / "Translation.csv", "Chinese" if options.language == "zh" else "English")
    split_of_row = _splits(folder, len(labels))
    found = Collection(table, options)
    for number, (where, row) in enumerate(labels):
        key = _key(row, where)
        if number not in split_of_row:
            raise InputError(f"{where} is row {number}, which none of the index files in {folder} names")
        if key not in words:
            raise InputError(f"{where}: clip {'/'.join(key)} is not in {folder / 'Translation.csv'}")
        score = known_score_of(row["label"], "train", options.score_range, where)
        row = {"video_id": key[0], "clip_id": key[1], "text": words[key]}
        found.add(where, clip_of(row, where, path, options, split_of_row[number], score))
    return found.samples()


def _words(table: Path, column: str) -> dict[tuple[str, str], str]:
    return {_key(row, where): row[column] for where, row in labels_csv.rows(table, ("video_id", "clip_id", column))}


def _key(row: dict[str, str], where: Where) -> tuple[str, str]:
    """(video id, clip id); clip 1 is 0001, as in the MMSA layout."""
    clip_id = whole_of(name_of(row["clip_id"], "clip_id", where), "clip_id", where)
    return name_of(row["video_id"], "video_id", where), clip_id.zfill(4)


def _splits(folder: Path, count: int) -> dict[int, str]:
    """Row number -> split."""
    splits: dict[int, str] = {}
    for name, split in (("train", "train"), ("val", "valid"), ("test", "test")):
        for where, row in labels_csv.rows(folder / f"{name}_index.csv", ("index",)):
            number = number_of(row["index"], "index", where)
            if number not in range(count):
                raise InputError(f"{where}: index {number:g} is no row of label_M.csv, which has {count}")
            if splits.setdefault(int(number), split) != split:
                raise InputError(f"{where}: index {number:g} is in {splits[int(number)]} already")
    return splits
