"""What a distillation asks and how it checks answers: all that decides a row but the sample and the answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.labels import polarity_of
from emsa_jax.answers.recorded_traces import ACCEPTED, PENDING
from emsa_jax.append_log import Row
from emsa_jax.config.edge import digest, to_dict
from emsa_jax.data.records import Entry
from emsa_jax.data.views import modalities
from emsa_jax.distill.checks import Truth, check, verdict
from emsa_jax.distill.distill_options import DistillOptions
from emsa_jax.distill.progress import Step
from emsa_jax.distill.request_media import Media
from emsa_jax.distill.teacher_options import FilterOptions, TeacherOptions
from emsa_jax.distill.teacher_prompts import OURS, Prompts, read_prompts

# what of the options changes an answer; the rest changes only how it is fetched
_DECIDES = ("kind", "model", "temperature", "top_p", "max_tokens", "extra", "video", "audio", "max_frames")


class LabelledSample(NamedTuple):
    """A sample to be asked about. index: of its record in the split."""

    index: int
    entry: Entry
    truth: Truth


@dataclass(frozen=True, kw_only=True)
class DistillPlan:
    """How samples are asked about.

    method: the name of the first prompt. format: of the answers, from answers/formats.py. prompts: `method`, "refine"
    and "judge". attempts: how many answers to ask for to one question. refine_prompt: the name of that prompt.
    refine_model: the text model that refines; "" for the teacher. neutral_eps: scores within it of 0 are Neutral.
    """

    method: str
    format: AnswerFormat
    prompts: Prompts
    teacher: TeacherOptions
    filter: FilterOptions
    attempts: int = 3
    refine: bool = False
    refine_prompt: str = "refine"
    refine_model: str = ""
    seed: int = 0
    neutral_eps: float = 0.0

    @cached_property
    def asks(self) -> dict[str, str]:
        """Step -> what is asked, by hash: the same hash, the same question to the same teacher."""
        decides = {name: to_dict(getattr(self.teacher, name)) for name in _DECIDES}
        prompt_of = {"write": self.method, "refine": self.refine_prompt}
        merged = {"refine": [self.refine_model]} if self.refine_model else {}
        return {
            step: digest(
                [
                    decides,
                    self.seed,
                    self.format.identity(),
                    step,
                    self.method,
                    {file: sha for file, sha in self.prompts.hashes.items() if file.split(".")[0] == name},
                    *merged.get(step, ()),
                ]
            )[:16]
            for step, name in prompt_of.items()
        }

    @cached_property
    def _filter_hash(self) -> str:
        return digest([self.filter, self.format.identity(), self.neutral_eps])

    def labelled(self, entries: Sequence[Entry]) -> list[LabelledSample]:
        """The samples among a split's entries that have a true score.

        Raises InputError naming a sample with a concept that the answer format has no label for.
        """
        samples = [LabelledSample(i, entry, truth) for i, entry in enumerate(entries) if (truth := self.truth(entry))]
        for sample in samples:
            self.format.truth(sample.entry)
        return samples

    def truth(self, entry: Entry) -> Truth | None:
        """What is known of a sample, and which of its modalities the teacher gets; None without a true score."""
        score = entry.score
        if score is None:  # a format may know classes by their names
            known = self.format.truth(entry)
            score = known.score if known else None
        if score is None:
            return None
        hidden = {name for name in ("video", "audio") if getattr(self.teacher, name) == "none"}
        given = tuple(name for name in modalities(entry) if name not in hidden)
        return Truth(float(score), entry.language, given, tuple(entry.concepts))

    def truth_row(self, truth: Truth) -> Row:
        """What is known of a sample, as JSON values."""
        return {
            "score": truth.score,
            "polarity": polarity_of(truth.score, self.neutral_eps),
            "language": truth.language,
            "modalities": list(truth.modalities),
            "concepts": [list(pair) for pair in truth.concepts],
        }

    def filter_hash(self, truth: Truth) -> str:
        """Stands for the checks and for what they compare with."""
        return digest([self._filter_hash, truth])[:16]

    def check(self, answer: str, finish: str, truth: Truth) -> Row:
        """{"checks", "verdict", "reason", "filter"} of an answer."""
        checks = check(answer, finish, truth, self.format, self.filter)
        decided, reason = verdict(checks)
        if decided == ACCEPTED and self.filter.judge:
            decided = PENDING
        return {"checks": checks, "verdict": decided, "reason": reason, "filter": self.filter_hash(truth)}

    def messages(self, step: Step, sample: LabelledSample, media: Media, answer: str) -> tuple[list[dict], Row]:
        """The chat messages of a step, and {"prompt", "prompt_sha256"} as the record keeps them. answer: the one
        that the step is about, "" for none."""
        name = {"write": self.method, "refine": self.refine_prompt}.get(step.step, step.step)
        system, user = self.prompts.fill(name, sample.entry, sample.truth, self.format, answer)
        chat = [{"role": "system", "content": system}] if system else []
        chat.append({"role": "user", "content": [*media.parts, {"type": "text", "text": user}]})
        kept = {"system": system, "user": user, "media": media.summary}
        sha = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()
        return chat, {"prompt": kept, "prompt_sha256": sha}

    def parameters(self, step: Step) -> Row:
        """The parameters of a request. The same step of a sample gets the same seed, the next attempt another one."""
        teacher = self.teacher
        model = self.model_of(step)
        seed = {"seed": self.seed + step.attempt} if teacher.send_seed else {}
        return {
            "model": model,
            "temperature": teacher.temperature,
            "top_p": teacher.top_p,
            teacher.limit_name: teacher.max_tokens,
            **seed,
            **teacher.extra_fields,
        }

    def model_of(self, step: Step) -> str:
        """The model that is asked."""
        return (self.refine_model if step.step == "refine" else "") or self.teacher.model

    def shows_media(self, step: Step) -> bool:
        """Whether the clip goes along with a request: not to a text model."""
        return step.step != "refine" or not self.refine_model

    def description(self) -> dict[str, Any]:
        """What was asked for, in a few words for a page."""
        return {
            "teacher": self.teacher.model or "our own policy",
            "format": self.format.name,
            "attempts": self.attempts,
            "refined": self.refine,
            "filter": to_dict(self.filter),
            "seed": self.seed,
            "prompts": ", ".join(f"{name} {sha[:12]}" for name, sha in self.prompts.hashes.items()),
        }

    def settings(self) -> Row:
        """What was asked for, as a row of the record; no key, and no path of this machine."""
        body = {
            "method": self.method,
            **self.format.identity(),
            "neutral_eps": self.neutral_eps,
            "attempts": self.attempts,
            "refine": self.refine,
            **({"refine_model": self.refine_model} if self.refine_model else {}),
            "seed": self.seed,
            "teacher": to_dict(self.teacher),
            "filter": to_dict(self.filter),
            "prompts": self.prompts.hashes,
            "asks": self.asks,
        }
        return {"kind": "settings", "hash": digest(body)[:16], **body}


def make_plan(options: DistillOptions, score_range: tuple[float, float]) -> DistillPlan:
    """The plan that the options of the job describe. score_range: of the records. Raises InputError as its parts do."""
    own = f"refine_{options.format}"
    refine = own if (OURS / f"{own}.en.txt").exists() else "refine"
    return DistillPlan(
        method=options.format,
        format=make_format(options.format, score_range, options.neutral_eps, options.concepts),
        prompts=read_prompts((options.format, refine, "judge"), options.templates),
        teacher=options.teacher,
        filter=options.filter,
        attempts=options.attempts,
        refine=options.refine,
        refine_prompt=refine,
        refine_model=options.refine_model,
        seed=options.seed,
        neutral_eps=options.neutral_eps,
    )


def parsed_row(format: AnswerFormat, answer: str) -> Row:
    """The fields that were read from an answer, as JSON values."""
    parsed = format.parse(answer)
    row = {name: getattr(parsed, name) for name in ("polarity", "think", "score", "sentiment")}
    row |= {"concepts": parsed.concepts} if format.marked else {}
    row |= {"cues": parsed.cues} if parsed.cues else {}
    return {name: to_dict(value) for name, value in row.items() if value is not None}
