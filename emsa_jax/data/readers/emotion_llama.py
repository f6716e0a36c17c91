"""Emotion-LLaMA: an index of lines `name emotion` or `name frames emotion [valence]`, explanations as json beside."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from emsa_jax.data import labels_csv
from emsa_jax.data.labels_csv import Where
from emsa_jax.data.readers import clips, mer_folder
from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.cells import class_of, split_in_name
from emsa_jax.data.readers.rows import named_objects, text_field
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

EXPLANATIONS = ("MERR_fine_grained.json", "MERR_coarse_grained.json")
_FRAMES = re.compile(r"-?[0-9]+(\.0+)?")  # -1: nobody has counted them
COARSE = "MERR_coarse_grained.txt"  # names clips of the fine index too, which comes first


class Indexed(NamedTuple):
    where: Where
    emotion: str
    valence: str


def read_emotion_llama(path: Path, options: ReadOptions) -> list[Sample]:
    """path: an index file; or a directory, of which every `.txt` is one, each split named by its file ("train.txt",
    "val.txt", "relative_test3_NCEV.txt"). Clips, transcripts and explanations lie beside; the score is the valence.
    A json of the index's own name comes before `MERR_fine_grained.json` and `MERR_coarse_grained.json`."""
    within = [file for file in path.glob("*.txt") if not file.name.startswith(".")] if path.is_dir() else [path]
    indexes = sorted(within, key=lambda file: (file.name == COARSE, file))
    if not indexes:
        raise InputError(f"{path} holds no .txt of lines `name emotion` or `name frames emotion [valence]`")
    clip, words = mer_folder.finder(path), mer_folder.transcripts(path, options.language)
    found = Collection(path, options)
    for index in indexes:
        split = split_in_name(index.stem, options.reading.split)
        reasons = _explanations(index)
        for name, (where, emotion, valence) in read_index(index).items():
            if name in found and index.name == COARSE:
                continue
            sample = Sample(
                id=name,
                text=words.get(name, ""),
                score=mer_folder.valence_of(valence, options.score_range, where),
                split=split,
                video=clip(name, where),
                language=options.language,
                label=emotion,
                reasoning=reasons.get(name, ""),
            )
            found.add(where, sample)
    return found.samples()


def read_index(path: Path) -> dict[str, Indexed]:
    """name -> (where, emotion, valence or "")."""
    index: dict[str, Indexed] = {}
    for number, line in enumerate(labels_csv.read_text(path).split("\n"), 1):
        where, cells = Where(f"{path} line {number}"), line.split()
        if not cells:
            continue
        emotion = class_of(cells[min(len(cells), 3) - 1], "emotion", where)
        fits = emotion and 2 <= len(cells) <= 4 and (len(cells) == 2 or _FRAMES.fullmatch(cells[1]))
        if not fits:
            raise InputError(f"{where} is neither `name emotion` nor `name frames emotion [valence]`: {line[:80]!r}")
        name = clips.name_in(cells[0], "name", where)
        if name in index:
            raise InputError(f"{where}: name {name!r} was already given at {index[name].where}")
        index[name] = Indexed(where, emotion, cells[3] if len(cells) == 4 else "")
    return index


def explanation_of(entry: dict, where: Where) -> str:
    """The reasoned description of MERR's fine part, or the template of its coarse one."""
    return text_field(entry, "smp_reason_caption", where) or text_field(entry, "caption", where)


def _explanations(index: Path) -> dict[str, str]:
    reasons: dict[str, str] = {}
    for path in (index.with_suffix(".json"), *(index.with_name(name) for name in EXPLANATIONS)):
        if os.path.isfile(path):
            for where, name, entry in named_objects(path):
                reasons.setdefault(clips.name_in(name, "name", where), explanation_of(entry, where))
    return reasons
