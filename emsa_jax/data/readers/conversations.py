"""The `conversations` json of R1-Omni and HumanOmni, in which DFEW, MAFW and instruction data are passed around."""

import os
from collections import Counter
from pathlib import Path, PureWindowsPath
from typing import Any

from emsa_jax.data.labels_csv import Where
from emsa_jax.data.readers import clips
from emsa_jax.data.readers.base import Collection, ReadOptions
from emsa_jax.data.readers.cells import split_in_name
from emsa_jax.data.readers.rows import objects, text_field
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

CLASS_WORDS = 5  # an untagged answer of more words is no class but a description


def read_conversations(path: Path, options: ReadOptions) -> list[Sample]:
    """path: a json array or jsonl of `{"video": path, "conversations": [{"from": "human", "value": ...},
    {"from": "gpt", "value": "sad"}]}`; or a directory, of which every such file is read, its split as in its name.

    The last answer is the class, or a description if it is long; with tags, `<answer>` is the class and `<think>` the
    reasoning. Ids are the entry's own, or the video's path without suffix; one that comes again is numbered, as
    several questions about one video are several samples. A path that leads nowhere, such as another machine's, is
    looked up by its last parts below the source.
    """
    files = sorted(f for f in path.iterdir() if f.suffix in (".json", ".jsonl")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path} holds no .json or .jsonl of conversations")
    root, found, times = clips.folder_of(path), Collection(path, options), Counter()
    for file in files:
        split = split_in_name(file.stem, options.reading.split)
        for where, entry in objects(file):
            video = text_field(entry, "video", where)
            if not video:
                raise InputError(f"{where} lacks the field video")
            label, reasoning = _class_and_reasoning(_answer(entry, where))
            path_in_set = video.replace("\\", "/")
            name = text_field(entry, "id", where) or os.path.splitext(path_in_set)[0].lstrip("/")
            times[name] += 1
            if times[name] > 1:
                where.guess("several questions about one video became samples of their own: id, id#2, id#3, ...")
            sample = Sample(
                id=name if times[name] == 1 else f"{name}#{times[name]}",
                text="",
                score=None,
                split=split,
                video=_locate(root, video, where),
                language=options.language,
                label=label,
                reasoning=reasoning,
            )
            found.add(where, sample)
    return found.samples()


def _answer(entry: dict[str, Any], where: Where) -> str:
    turns = entry.get("conversations")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise InputError(f"{where}: conversations must be a list of objects")
    answers = [text_field(turn, "value", where) for turn in turns if turn.get("from") in ("gpt", "assistant")]
    if not answers or not answers[-1].strip():
        raise InputError(f"{where}: conversations hold no answer from gpt")
    if len(answers) > 1:
        where.guess("of several answers in one conversation the last was read")
    return answers[-1]


def _class_and_reasoning(answer: str) -> tuple[str, str]:
    """(class, reasoning)"""
    before, tag, after = answer.rpartition("<answer>")
    if tag:
        return after.partition("</answer>")[0].strip(), before.partition("<think>")[2].rpartition("</think>")[0].strip()
    return ("", answer.strip()) if len(answer.split()) > CLASS_WORDS else (answer.strip(), "")


def _locate(root: Path, video: str, where: Where) -> str:
    if ".." in PureWindowsPath(video).parts:  # which knows both kinds of slashes
        raise InputError(f"{where}: video {video!r} climbs out of its folder")
    return clips.located(root, video, where, elsewhere=True)
