"""MER-Caption+ and OV-MERD, tracks 2 and 3 of MER2025: open-vocabulary emotions and a description of each clip."""

import os
import re
from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.readers import clips, mer_folder
from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.rows import by_name
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

FILES = ("track2_train_mercaptionplus.csv", "track3_train_mercaptionplus.csv")


def read_mer_caption_plus(path: Path, options: ReadOptions) -> list[Sample]:
    """path: the directory `mer2025-dataset`; or one of the tables `track{2,3}_<split>_<set>.csv`, its partner being
    read too: `track2_train_ovmerd.csv` stands for OV-MERD.

    The class is the list of emotions, "happy, relieved"; an empty list is "neutral", as the challenge has it. The
    reasoning is the description.
    """
    tables = [table for table in _tables(path) if os.path.isfile(table)]
    if not tables:
        hint = clips.spreadsheets(path) if path.is_dir() else ""
        raise InputError(f"{path} holds none of {', '.join(FILES)}{hint}")
    opensets, reasons = {}, {}
    for table in tables:
        if "openset" in labels_csv.header(table):
            opensets |= by_name(table, ("openset",))
        else:
            reasons |= by_name(table, ("reason",))
    clip, words = mer_folder.finder(path), mer_folder.transcripts(path, options.language)
    found = Collection(path, options)
    for name, (where, _) in (reasons | opensets).items():
        sample = Sample(
            id=name,
            text=words.get(name, ""),
            score=None,
            split=options.reading.split,
            video=clip(name, where),
            language=options.language,
            label=_emotions(opensets[name][1]["openset"]) if name in opensets else "",
            reasoning=reasons[name][1]["reason"].strip() if name in reasons else "",
        )
        found.add(where, sample)
    return found.samples()


def _tables(path: Path) -> list[Path]:
    if path.is_dir():
        return [path / name for name in FILES]
    named = re.fullmatch(r"track[23]_(.*)", path.name)
    return [path.with_name(f"track{track}_{named[1]}") for track in "23"] if named else [path]


def _emotions(openset: str) -> str:
    """ "['happy', relieved]" -> "happy, relieved"."""
    emotions = (word.strip(" \t'\"") for word in openset.strip().strip("[]").split(","))
    return ", ".join(filter(None, emotions)) or "neutral"
