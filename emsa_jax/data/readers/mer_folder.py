"""The folder of the MER challenges, which MERR, EMER and Emotion-LLaMA annotate: its clips and transcripts."""

import os
from collections.abc import Callable
from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.labels_csv import Where
from emsa_jax.data.readers import clips
from emsa_jax.data.readers.cells import score_of

FOLDERS = ("video", "train", "test1", "test2", "test3", "mer2023train/train")
TRANSCRIPTS = (
    "subtitle_chieng.csv",
    "transcription-engchi-polish.csv",
    "transcription_en_all.csv",
    "transcription_all.csv",
    "transcription.csv",
)
NO_VALENCE = -10.0
COLUMNS = {"en": ("english", "sentence_en", "sentence"), "zh": ("chinese", "sentence")}


def finder(source: Path) -> Callable[[str, Where], str]:
    """(name, where) -> path of a clip (see `clips.finder`)."""
    return clips.finder(source, FOLDERS)


def valence_of(cell: str, score_range: tuple[float, float], where: Where) -> float | None:
    """The valence; None where there is none, for which the challenges' files and what was made of them write -10."""
    return score_of(cell, score_range, where, "valence", none=NO_VALENCE)


def transcripts(source: Path, language: str) -> dict[str, str]:
    """name -> words in the language, of all transcript files beside the source; the first that has a name wins."""
    words: dict[str, str] = {}
    folder = clips.folder_of(source)
    for table in (folder / name for name in TRANSCRIPTS if os.path.isfile(folder / name)):
        columns = [name for name in COLUMNS[language] if name in labels_csv.header(table)]
        if columns:
            for where, row in labels_csv.rows(table, ("name", columns[0])):
                words.setdefault(clips.name_in(row["name"], "name", where), row[columns[0]])
    return words
