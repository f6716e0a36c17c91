"""EMER: explanations that people wrote for clips of MER2023; v1 with emotions and subtitles, v2 longer."""

import os
from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.readers import clips, mer_folder
from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.rows import by_name
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

V1 = {"en": "gt-eng.csv", "zh": "gt-chi.csv"}
V2 = "final-EMER-reason.csv"
V2_COLUMNS = {"en": "english", "zh": "chinese"}
PLACES = ("", "dataset-v1", "dataset-v2")


def read_emer(path: Path, options: ReadOptions) -> list[Sample]:
    """path: a directory with the tables of v1, v2 or both, or one table; the clips beside it as in MER2023.

    Of both, v2's explanations are read, with v1's emotions and subtitles. The language chooses between the English
    and the Chinese table or column. There is no official split.
    """
    first, second = _tables(path, options.language)
    column = V2_COLUMNS[options.language]
    v1 = by_name(first, ("emotions", "subtitles", "reasons"), "names") if first else {}
    v2 = by_name(second, (column,), "names" if "names" in labels_csv.header(second) else "name") if second else {}
    clip, words = mer_folder.finder(path), mer_folder.transcripts(path, options.language)
    found = Collection(path, options)
    for name, (where, _) in (v1 | v2).items():
        old, new = (rows.get(name, ("", {}))[1] for rows in (v1, v2))
        sample = Sample(
            id=name,
            text=old.get("subtitles", "") or words.get(name, ""),
            score=None,
            split=options.reading.split,
            video=clip(name, where),
            language=options.language,
            label=old.get("emotions", "").strip(),
            reasoning=(new.get(column, "") or old.get("reasons", "")).strip(),
        )
        found.add(where, sample)
    return found.samples()


def _tables(path: Path, language: str) -> tuple[Path | None, Path | None]:
    """The tables of v1 and of v2, None for one that is not there."""
    if not path.is_dir():
        return (path, None) if "reasons" in labels_csv.header(path) else (None, path)
    first, second = (
        next((path / place / name for place in PLACES if os.path.isfile(path / place / name)), None)
        for name in (V1[language], V2)
    )
    if not first and not second:
        raise InputError(f"{path} holds neither {V1[language]} nor {V2}{clips.spreadsheets(path)}")
    return first, second
