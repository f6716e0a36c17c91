"""The `conversations` json of R1-Omni and HumanOmni, in which DFEW, MAFW and instruction data are passed around."""

import os
import re
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

CLASS_WORDS, CLASS_CHARACTERS = 5, 10  # an untagged answer of more, or of more Chinese characters, is a description
_CHINESE = re.compile("[\u3400-\u9fff]")
_TAGS = re.compile("</?(think|answer)>", re.IGNORECASE)


def read_conversations(path: Path, options: ReadOptions) -> list[Sample]:
    """path: a json array or jsonl of `{"video": path, "conversations": [{"from": "human", "value": ...},
    {"from": "gpt", "value": "sad"}]}`, or of `{"videos": [path], "messages": [{"role": "assistant", "content":
    "sad"}]}`, as other stacks name the same; or a directory, of which every such file is read, its split named by it.

    The last answer is the class, or a description if it is long; with tags, `<answer>` is the class and `<think>` the
    reasoning. Ids are the entry's own, or the video's path without suffix; one that comes again is numbered, as
    several questions about one video are several samples. A path that leads nowhere, such as another machine's, is
    looked up by its last parts below the source.
    """
    within = [f for f in path.iterdir() if not f.name.startswith(".")] if path.is_dir() else [path]
    files = sorted(f for f in within if f.suffix in (".json", ".jsonl")) if path.is_dir() else within
    if not files:
        raise InputError(f"{path} holds no .json or .jsonl of conversations")
    root, found, times = clips.folder_of(path), Collection(path, options), Counter()
    first: dict[str, str] = {}  # id -> the video of its first entry
    for file in files:
        split = split_in_name(file.stem, options.reading.split)
        for where, entry in objects(file):
            video = _video(entry, where)
            label, reasoning = _class_and_reasoning(_answer(entry, where))
            path_in_set = video.replace("\\", "/")
            name = text_field(entry, "id", where) or os.path.splitext(path_in_set)[0].lstrip("/")
            times[name] += 1
            if first.setdefault(name, video) != video:
                where.guess("an id that several videos have was numbered: id, id#2, id#3, ...")
            elif times[name] > 1:
                where.guess("several questions about one video became samples of their own: id, id#2, id#3, ...")
            while (numbered := name if times[name] == 1 else f"{name}#{times[name]}") in found:
                times[name] += 1
            sample = Sample(
                id=numbered,
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


def _video(entry: dict[str, Any], where: Where) -> str:
    """The path of an entry's one video."""
    video = entry.get("video") or entry.get("videos")
    if not video:
        raise InputError(f"{where} lacks the field video")
    if isinstance(video, list):
        if len(video) > 1:
            raise InputError(f"{where} has {len(video)} videos; a sample is of one")
        (video,) = video
    return text_field({"video": video}, "video", where)


def _answer(entry: dict[str, Any], where: Where) -> str:
    turns = entry.get("conversations") or entry.get("messages")
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise InputError(f"{where}: conversations must be a list of objects")
    spoken = [turn for turn in turns if (turn.get("from") or turn.get("role")) in ("gpt", "assistant")]
    answers = [text_field(turn, "value" if "value" in turn else "content", where) for turn in spoken]
    if not answers or not answers[-1].strip():
        raise InputError(f"{where}: conversations hold no answer from gpt")
    if len(answers) > 1:
        where.guess("of several answers in one conversation the last was read")
    return answers[-1]


def _class_and_reasoning(answer: str) -> tuple[str, str]:
    """(class, reasoning)"""
    answer = _TAGS.sub(lambda tag: tag[0].lower(), answer)
    before, tag, after = answer.rpartition("<answer>")
    if not tag and answer.count("</think>") == 1:  # what follows is the answer, without a mark of its own
        before, tag, after = answer.partition("</think>")
        before += tag
    if tag:
        return after.partition("</answer>")[0].strip(), before.partition("<think>")[2].rpartition("</think>")[0].strip()
    is_long = len(answer.split()) > CLASS_WORDS or len(_CHINESE.findall(answer)) > CLASS_CHARACTERS
    return ("", answer.strip()) if is_long else (answer.strip(), "")


def _locate(root: Path, video: str, where: Where) -> str:
    if ".." in PureWindowsPath(video).parts:  # which knows both kinds of slashes
        raise InputError(f"{where}: video {video!r} climbs out of its folder")
    return clips.located(root, video, where, elsewhere=True)
