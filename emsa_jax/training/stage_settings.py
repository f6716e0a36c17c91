"""What the stages that learn read of a run's options, and so what their results depend on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from emsa_jax.answers.answer_options import ConceptOptions, LabelOptions
from emsa_jax.config.fields import no_effect
from emsa_jax.data.data_options import MixOptions
from emsa_jax.data.dataset_options import CrossDataset
from emsa_jax.data.datasets import DataSettings
from emsa_jax.data.records import read_manifest
from emsa_jax.learning.learning_options import AdvOptions, GuardOptions, LossOptions
from emsa_jax.manifest import sha256_file
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rollout.rollout_options import EncodingOptions, HintOptions, PromptOptions, SamplingOptions
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import (
    PolicySettings,
    aligned_policy_dir,
    cold_started,
    policy_dir,
    policy_fingerprint,
    records_dir,
    traces_file,
)
from emsa_jax.training.training_options import AlignOptions, GrpoOptions, SftOptions


@dataclass(frozen=True, kw_only=True)
class LearningSettings(DataSettings, PolicySettings):
    """What all stages read that learn from the training set."""

    cross: CrossDataset = no_effect()
    seed: int
    dtype: str
    attention: str = no_effect()
    format: str
    concepts: ConceptOptions
    labels: LabelOptions
    prompt: PromptOptions
    mix: MixOptions
    mesh: MeshOptions
    encodings: EncodingOptions
    guard: GuardOptions
    strict: bool = no_effect()

    def records(self, run: Run) -> list[str]:
        """Hashes of the records that are learned from."""
        every = (records_dir(run, self, "train"), *self.mix.data)
        return [read_manifest(directory).digest for directory in every]


@dataclass(frozen=True, kw_only=True)
class AlignSettings(LearningSettings):
    """What alignment reads."""

    align: AlignOptions

    def content(self, run: Run) -> list:
        """Hashes of the files that the stage reads."""
        return [policy_fingerprint(policy_dir(run, self), None), *self.records(run)]


@dataclass(frozen=True, kw_only=True)
class TrainSettings(LearningSettings):
    """What both stages read that train an adapter and sample answers."""

    modality_dropout: dict[str, float]
    balance: bool
    lora: LoraOptions
    sampling: SamplingOptions
    reward: RewardOptions


class AskingOptions(Protocol):
    """The options of evaluation that the cold start reads. batch_size: validation clips that are asked at a time."""

    batch_size: int


@dataclass(frozen=True, kw_only=True)
class SftSettings(TrainSettings):
    """What the cold start reads."""

    traces: str
    sft: SftOptions
    evaluate: AskingOptions

    def content(self, run: Run) -> list:
        """Hashes of the files that the stage reads."""
        traces = sha256_file(traces_file(run, self)) if self.sft.targets == "traces" else ""
        adapter = Path(self.adapter) if self.adapter else None
        return [traces, policy_fingerprint(aligned_policy_dir(run, self), adapter), *self.records(run)]


@dataclass(frozen=True, kw_only=True)
class GrpoSettings(TrainSettings):
    """What Hint-GRPO reads."""

    hint: HintOptions
    adv: AdvOptions
    loss: LossOptions
    grpo: GrpoOptions
    profile: int = no_effect()

    def content(self, run: Run) -> list:
        """Hashes of the files that the stage reads."""
        return [policy_fingerprint(*cold_started(run, self)), *self.records(run)]
