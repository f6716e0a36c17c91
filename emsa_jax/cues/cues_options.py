"""The options of the job cues. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.config.fields import Options, option
from emsa_jax.distill.teacher_options import BudgetOptions, TeacherOptions
from emsa_jax.errors import InputError

ENCODER = "weights/all-minilm-l6-v2"


@dataclass(frozen=True)
class CuesOptions(Options):
    """EmoCue-360: predicted cues against gold ones."""

    job: Literal["cues"] = option("cues", "which job this is")
    predictions: str = option(
        "",
        "cues of each clip, as json or jsonl; a text in their place is a description, from which cues are taken",
    )
    gold: str = option("", "the same for the gold cues")
    encoder: str = option(
        "",
        f"a directory of a sentence encoder of the BERT kind; empty: {ENCODER}",
        source="the public scorer: all-MiniLM-L6-v2",
    )
    subtitle_rule: Literal["subtitles", "official"] = option(
        "subtitles",
        "official: counted as the public scorer does, which also drops every auditory cue with the letters text in it "
        "and does not notice clips without prediction; subtitles: auditory cues about subtitles are dropped, and the "
        "clips of the gold file count",
    )
    extract: Literal["rule", "endpoint"] = option(
        "rule",
        "how cues are taken from descriptions: by rule, for texts that say what is seen and what is heard, or by the "
        "chat endpoint of config.teacher",
    )
    prompt: int = option(1, "which of the five prompts the endpoint gets", low=1, high=5)
    cache: str = option("cues_cache.jsonl", "the file of the endpoint's answers; what is in it is not asked again")
    out: str = option(
        "", "a directory for scores.json, pairs.jsonl, the matched pairs of each clip, and cues.html; empty: none"
    )
    records: str = option("", "a directory of records with the clips, for the page to show; empty: none")
    resamples: int = option(1000, "resamples of the bootstrap over clips; 0: no intervals", low=0)
    seed: int = option(0, "of the bootstrap", low=0, high=2**31 - 1)
    teacher: TeacherOptions = TeacherOptions(temperature=0.0)
    budget: BudgetOptions = BudgetOptions()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.extract == "endpoint" and not (self.teacher.url and self.teacher.model and self.teacher.kind == "chat"):
            raise InputError("teacher: extract=endpoint needs teacher.url and teacher.model of a chat endpoint")
