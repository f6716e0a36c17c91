"""The commands of `emsa`: which config each of them stands for, and what it takes without a field's name. Imports no
options, so that `emsa --help` is quick."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from emsa_jax.errors import InputError


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
      config: the file of configs/ it stands for, without .py.
      summary: what it does, in one line.
      takes: the field that words without a name go to, "" for none.
      example: how it is used.
      pairs: whether those words are NAME=VALUE, and so no fields.
      takes_preset: whether a word without a name is the preset of its config.
    """

    config: str
    summary: str
    takes: str = ""
    example: str = ""
    pairs: bool = False
    takes_preset: bool = False


# name -> command, in the order of the help
COMMANDS = {
    "prepare": Command(
        "prepare",
        "raw clips and labels become records, which many runs may share",
        "data",
        "emsa prepare /data/CH-SIMS --dataset ch_sims --out data/sims",
    ),
    "inspect": Command("inspect", "a page that shows what records hold", "data", "emsa inspect data/sims"),
    "train": Command(
        "grpo",
        "the whole run: prepare, cold start, GRPO with hints, evaluation, export, report",
        "data",
        "emsa train data/sims --workdir runs/mine --traces traces.jsonl hint.mode=off",
    ),
    "sft": Command("sft", "the cold start alone, and its evaluation", "data", "emsa sft clips.csv --preset smol"),
    "evaluate": Command(
        "evaluate",
        "a policy's answers and metrics on labelled clips",
        "data",
        "emsa evaluate test.csv --policy runs/mine/export/merged --workdir runs/judged",
    ),
    "ask": Command(
        "ask",
        "a policy's answer about one clip, or its predictions about a file or folder of clips",
        "video",
        "emsa ask clip.mp4 --policy runs/mine/export/merged --text fine",
    ),
    "serve": Command(
        "serve",
        "a policy behind OpenAI's protocol, with a page to try it",
        "policy",
        "emsa serve runs/mine/export/merged --port 8000",
    ),
    "export": Command("export", "a policy for transformers and PEFT", example="emsa export --workdir runs/mine"),
    "report": Command("report", "the table and the page of a run once more", example="emsa report --workdir runs/mine"),
    "compare": Command("compare", "two or more runs on one page", "runs", "emsa compare runs/off runs/hint"),
    "ablation": Command(
        "ablation",
        "tables of the papers over seeds",
        example="emsa ablation hint --workdir runs/hint_table",
        takes_preset=True,
    ),
    "distill": Command(
        "distill",
        "reasoning traces from a teacher, filtered and recorded",
        "data",
        "emsa distill data/sims --out traces/sims teacher.url=http://localhost:8000/v1 teacher.model=NAME",
    ),
    "review": Command(
        "review", "a page on which people look at traces", "traces", "emsa review traces/sims --data data/sims"
    ),
    "faithful": Command(
        "faithful",
        "does an answer hang on its explanation, and the explanation on the clip",
        "policy",
        "emsa faithful runs/mine/export/merged --data runs/mine/records/train",
    ),
    "features": Command(
        "features", "MulT, MAG-BERT, MISA, ALMT and DLF on a feature file", "data", "emsa features mosi.pkl"
    ),
    "cues": Command(
        "cues",
        "EmoCue-360: predicted emotional cues against those of people",
        example="emsa cues --predictions mine.json --gold gold.json",
    ),
    "bridges": Command(
        "bridges",
        "cue bridges out of clips and captions",
        "pairs",
        "emsa bridges pairs.jsonl --preset vecb --encoder weights/clip",
    ),
    "xemogpt": Command(
        "xemogpt",
        "XEmoGPT's stage 3: a policy with cue bridges learns to describe cues",
        "data",
        "emsa xemogpt --preset puppets_xemogpt --workdir runs/xemogpt",
    ),
    "annotate": Command(
        "annotate",
        "votes of several people become labels, agreement and splits",
        "votes",
        "emsa annotate votes.csv --out labels",
    ),
    "benchmark": Command(
        "benchmark",
        "the tables and figures of CH-CEMS",
        "runs",
        "emsa benchmark ours=runs/s0/evaluate/grpo/train --out tables",
        pairs=True,
    ),
    "assemble": Command(
        "assemble",
        "one policy of pretrained parts",
        example="emsa assemble --text weights/smollm2-135m-instruct --audio weights/whisper-base --out weights/smol",
    ),
    "doctor": Command(
        "doctor",
        "is this machine ready: versions, devices, disk, memory, a step, an endpoint",
        "policy",
        "emsa doctor weights/smol --base-url http://localhost:8000/v1",
    ),
    "plan": Command(
        "plan",
        "would a run fit on devices that are not here",
        "policy",
        "emsa plan --preset msa_thinker --topology h100:8",
    ),
}
# commands that stand for no config -> what they do
OTHERS = {
    "describe": "what a field or a group of fields means: emsa describe hint.threshold",
    "cite": "bibtex of a run's method, data and software: emsa cite runs/mine",
    "completion": "a script that completes commands and fields in bash or zsh",
    "help": "this list, or the help of a command: emsa help train",
}


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Names that somebody who wrote `name` may have meant, the likeliest first: dotted names are also known by their
    last part alone."""
    known = sorted(known, key=lambda one: one.count("."))
    last = name.rpartition(".")[2]
    ends = {one: one.rpartition(".")[2] for one in known}
    found = [one for one in known if ends[one] == last]
    found += difflib.get_close_matches(name, known, most, 0.6)
    close = difflib.get_close_matches(last, sorted(set(ends.values())), most, 0.75)
    found += [one for end in close for one in known if ends[one] == end]
    return list(dict.fromkeys(found))[:most]


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """The end of a message: the nearest names, or what to do where none is near."""
    found = nearest(name, known)
    return f"did you mean {' or '.join(found)}?" if found else otherwise


def command(name: str) -> Command:
    """The command of a name. Raises InputError with the nearest names."""
    if name not in COMMANDS:
        advice = did_you_mean(name, (*COMMANDS, *OTHERS), "emsa --help lists all of them")
        raise InputError(f"there is no command {name!r}; {advice}")
    return COMMANDS[name]


def overview() -> str:
    """What `emsa --help` prints."""
    width = max(map(len, (*COMMANDS, *OTHERS)))
    rows = [(name, one.summary) for name, one in COMMANDS.items()], list(OTHERS.items())
    lines = ["\n".join(f"  {name:{width}}  {text}" for name, text in part) for part in rows]
    return f"""usage: emsa COMMAND [WORD ...] [--FIELD VALUE ...] [FIELD=VALUE ...]

{lines[0]}

{lines[1]}

emsa COMMAND --help lists what a command takes. Fields are written as hint.mode=off, --hint.mode off or
--hint.mode=off; each command stands for python -m emsa_jax.main --config=configs/NAME.py, and does the same.
"""
