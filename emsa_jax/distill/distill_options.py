"""What `distill` can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.formats import format_class
from emsa_jax.distill.teacher_options import BudgetOptions, FilterOptions, TeacherOptions
from emsa_jax.errors import InputError
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rollout.rollout_options import SamplingOptions


@dataclass(frozen=True)
class LocalOptions:
    """The policy that teaches. policy: a checkpoint directory. adapter: a PEFT directory, "" for none. batch_size:
    clips at a time, each with config.attempts answers. audio_in_video: as in the prompts that it was trained with."""

    policy: str = ""
    adapter: str = ""
    dtype: Literal["float32", "bfloat16"] = "float32"
    batch_size: int = 16
    audio_in_video: bool = False
    sampling: SamplingOptions = SamplingOptions()
    reward: RewardOptions = field(default_factory=RewardOptions)

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"local.batch_size must be at least 1, not {self.batch_size}")


@dataclass(frozen=True)
class DistillOptions:
    """data: a directory of records. out: the directory that will hold the record of answers and the report.

    split: of which samples. max_clips: at most so many (0: all). format: of the answers, one that has reasoning
    and prompt templates of its name: "dc" asks for the teacher's judgement, "concepts" for reasons of the true labels.
    concepts: its classes and table.
    attempts: answers to ask for until one is kept; then the sample is kept aside. More of them later go on where
    these ended. refine: ask for a corrected version of each trace that was kept. templates: a directory with prompt
    templates of your own (those of emsa_jax/distill/templates that it does not have stay ours).
    dry_run: say what it would cost, and ask nothing. samples: on the report, for each reason.
    """

    job: Literal["distill"] = "distill"
    data: str = ""
    out: str = ""
    split: Literal["train", "valid", "test"] = "train"
    max_clips: int = 0
    format: str = "dc"
    concepts: ConceptOptions = ConceptOptions()
    attempts: int = 3
    refine: bool = False
    templates: str = ""
    seed: int = 0
    neutral_eps: float = 0.0
    dry_run: bool = False
    samples: int = 3
    teacher: TeacherOptions = TeacherOptions()
    budget: BudgetOptions = BudgetOptions()
    filter: FilterOptions = FilterOptions()
    local: LocalOptions = LocalOptions()

    def __post_init__(self) -> None:
        for name, lowest in (("attempts", 1), ("max_clips", 0), ("samples", 0), ("neutral_eps", 0)):
            if getattr(self, name) < lowest:
                raise InputError(f"{name} must be at least {lowest}, not {getattr(self, name)}")
        if not format_class(self.format).has_reasoning:
            raise InputError(f"format: {self.format} answers have no reasoning for a teacher to write")
        if not 0 <= self.seed < 2**30:
            raise InputError(f"seed must be at least 0 and below 2**30, not {self.seed}")
        if self.teacher.kind == "policy" and (self.refine or self.filter.judge):
            raise InputError(
                "teacher.kind=policy: a policy neither refines nor judges; use refine=False and "
                "filter.judge=False, or an endpoint"
            )
