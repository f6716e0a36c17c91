"""Options of `distill`. Imports no jax."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.formats import format_class
from emsa_jax.config.fields import Options, option
from emsa_jax.distill.teacher_options import BudgetOptions, FilterOptions, TeacherOptions
from emsa_jax.errors import InputError
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rollout.rollout_options import SamplingOptions


@dataclass(frozen=True)
class LocalOptions(Options):
    """The policy that teaches, where teacher.kind is policy."""

    group: ClassVar[str] = "local"
    policy: str = option("", "a checkpoint directory")
    adapter: str = option("", "a PEFT directory; empty: none")
    dtype: Literal["float32", "bfloat16"] = option("float32", "of the weights and of activations")
    batch_size: int = option(16, "clips at a time, each with config.attempts answers", low=1)
    audio_in_video: bool = option(
        False, "sound and frames interleaved in time, as in the prompts that it was trained with"
    )
    sampling: SamplingOptions = SamplingOptions()
    reward: RewardOptions = field(default_factory=RewardOptions)


@dataclass(frozen=True)
class DistillOptions(Options):
    """Traces from a teacher for the clips of a directory of records."""

    job: Literal["distill"] = option("distill", "which job this is")
    data: str = option("", "a directory of records")
    out: str = option("", "the directory that will hold the record of answers and the report")
    split: Literal["train", "valid", "test"] = option("train", "the split of the samples")
    max_clips: int = option(0, "at most so many samples; 0: all", low=0)
    format: str = option(
        "dc",
        "of the answers, one that has reasoning: dc asks for the teacher's own view, concepts for reasons of the true "
        "labels",
        source="MSA-Thinker, section III.A: dc; CH-CEMS, appendix E: concepts",
    )
    concepts: ConceptOptions = ConceptOptions()
    attempts: int = option(3, "answers to ask for until one is kept; then the sample is set aside", low=1)
    refine: bool = option(
        False, "ask for a corrected version of each trace that was kept", source="CH-CEMS, appendix E, listing 2"
    )
    refine_model: str = option(
        "",
        "the model of the same endpoint that refines, from texts alone; empty: the teacher itself, which is shown the "
        "clip again",
        source="XEmoGPT, section III-D: a text model merges what multimodal ones wrote",
    )
    templates: str = option("", "a directory with prompt templates of your own; those that it lacks stay ours")
    seed: int = option(0, "of the requests", low=0, high=2**30 - 1)
    neutral_eps: float = option(0.0, "scores within this of 0 are Neutral", low=0)
    dry_run: bool = option(False, "say what it would cost, and ask nothing")
    samples: int = option(3, "samples on the report, for each reason", low=0)
    teacher: TeacherOptions = TeacherOptions()
    budget: BudgetOptions = BudgetOptions()
    filter: FilterOptions = FilterOptions()
    local: LocalOptions = LocalOptions()

    def __post_init__(self) -> None:
        if self.local.reward.score == "expected":
            raise InputError("local.reward.score=expected: only training expects scores; leave it as written")
        super().__post_init__()
        if not format_class(self.format).has_reasoning:
            raise InputError(f"format: {self.format} answers have no reasoning for a teacher to write")
        if self.teacher.kind == "policy" and (self.refine or self.filter.judge):
            raise InputError(
                "teacher.kind=policy: a policy neither refines nor judges; use refine=False and "
                "filter.judge=False, or an endpoint"
            )
