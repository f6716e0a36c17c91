"""Checks of all that a user named, before a run makes anything of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from emsa_jax.answers.answer_options import ConceptOptions, LabelOptions
from emsa_jax.answers.concept_table import concept_table
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.recorded_traces import read_any_traces
from emsa_jax.data.data_options import MixOptions, ReadingOptions
from emsa_jax.data.dataset_options import CrossDataset, Dataset
from emsa_jax.data.datasets import PUPPETS, DataSettings, clips_of, datasets, labelled_splits
from emsa_jax.data.findings import overlaps
from emsa_jax.data.records import Entry, read_index, read_manifest
from emsa_jax.data.sample import Sample
from emsa_jax.data.views import modalities
from emsa_jax.errors import InputError
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.policy_options import EMBEDDED
from emsa_jax.rewards.plugins import load_plugins
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.runtime.console import say
from emsa_jax.training.artifacts import PolicySettings, check_base, policy_dir, traces_file
from emsa_jax.training.training_options import SftOptions

GENTLE_RATE = 1e-4  # a learning rate above this unlearns what a pretrained policy knows
ASKING = {"align", "sft", "grpo", "evaluate"}  # stages that ask the policy about clips


class SplitOptions(Protocol):
    """The options of evaluation that are read here. split: which clips are evaluated."""

    split: str


class LearnedFrom(Protocol):
    """Any options that say which data sets are learned from, and on which the policy is judged."""

    data: str
    cross: CrossDataset
    mix: MixOptions
    evaluate: SplitOptions


@dataclass(frozen=True, kw_only=True)
class InputSettings(DataSettings, PolicySettings):
    """What the checks read of a run's options."""

    stages: tuple[str, ...]
    traces: str
    read: ReadingOptions
    mix: MixOptions
    format: str
    concepts: ConceptOptions
    labels: LabelOptions
    reward: RewardOptions
    sft: SftOptions
    evaluate: SplitOptions
    dtype: str


def check_inputs(settings: InputSettings, check_score_range: Callable[[tuple[float, float]], Any]) -> None:
    """Raises InputError naming what is wrong with the data, the policy, the adapter or the traces.

    check_score_range: raises InputError for a score range that no metric is defined for."""
    stages = set(settings.stages)
    if stages - {"export"}:
        for role, dataset in datasets(settings).items():
            clips, score_range = clips_of(dataset, settings.read)
            if role == "train" and clips is not None:
                _check_labels(settings, dataset, clips, score_range)
            labelled = _check_splits(settings, role, dataset, clips)
            if "evaluate" in stages and labelled[settings.evaluate.split]:
                check_score_range(score_range)
    if stages & ASKING:
        load_plugins(settings.reward.plugins)
        _check_concepts(settings)
    for directory in settings.mix.data:
        read_manifest(directory)
    rate = settings.sft.optimizer.learning_rate
    if "sft" in stages and settings.policy not in EMBEDDED and settings.sft.trainable == "all" and rate > GENTLE_RATE:
        say(
            f"sft.trainable=all: all of {settings.policy} is trained, at a learning rate of "
            f"{rate:g}, as tiny wants it; for a pretrained policy take a preset such as "
            "msa_thinker"
        )
    if "sft" in stages and settings.sft.trainable == "all" and settings.dtype == "bfloat16":
        say(
            "warning: sft.trainable=all with dtype=bfloat16: a weight that is trained itself, without an adapter in "
            "float32, loses every update smaller than 1/256 of it; take dtype=float32, or sft.trainable=lora"
        )
    if stages - {"prepare", "report"} and settings.policy not in EMBEDDED:
        policy = open_checkpoint(policy_dir(None, settings), weights=False)
        if settings.adapter:
            peft.load_adapter(settings.adapter, policy.config)
            check_base(Path(settings.adapter), policy.directory)
    if "sft" in stages and settings.data not in PUPPETS and settings.sft.targets == "traces":
        read_any_traces(traces_file(None, settings))


def splits_read(stages: Sequence[str], evaluated: str, role: str) -> list[tuple[str, str]]:
    """(stage, split) of all clips of a data set that the stages ask about. evaluated: the split that is evaluated."""
    reads = {"evaluate": [evaluated]}
    if role == "train":
        reads |= {"align": ["train"], "sft": ["train", "valid"], "grpo": ["train"]}
    return [(stage, split) for stage in stages for split in reads.get(stage, ())]


def check_kept(records: Path, stages: Sequence[str], evaluated: str, role: str) -> None:
    """Raises InputError if a stage needs clips of a split of which the records hold none. role: of the data set."""
    manifest = read_manifest(records)
    for stage, split in splits_read(stages, evaluated, role):
        if not manifest.samples[split]:
            lost = manifest.findings.get("splits", {}).get(split, {}).get("quarantined", 0)
            first = f", such as {manifest.quarantined[0]['id']}: {manifest.quarantined[0]['reason']}" if lost else ""
            why = f"all {lost} of them were quarantined{first}; mend the clips" if lost else "there are none; add some"
            raise InputError(
                f"{records}: stage {stage} needs clips of {split}, and {why}, or leave {stage} out of stages"
            )


def check_shown(records: Path, shown: Collection[str], stages: Sequence[str], evaluated: str, role: str) -> None:
    """Warns of clips that have none of the modalities of the prompts, which then show nothing of them. Raises
    InputError where that is so of a whole split that a stage reads.

    shown: `PromptOptions.modalities`. role: of the data set."""
    for split in dict.fromkeys(split for stage, split in splits_read(stages, evaluated, role) if stage != "align"):
        entries = read_index(records, split)
        nothing = [entry.id for entry in entries if not set(modalities(entry)) & set(shown)]
        if entries and len(nothing) == len(entries):
            raise InputError(
                f"prompt.modalities: no clip of {split} in {records} has {' or '.join(shown)}, so that all prompts "
                "would be the same; name what the clips have"
            )
        if nothing:
            say(
                f"warning: {len(nothing)} of {len(entries)} clips of {split} in {records}, such as {nothing[0]}, have "
                f"no {' and no '.join(shown)}: their prompts show nothing of them"
            )


def shared_clips(settings: LearnedFrom, records: Mapping[str, Path]) -> list[dict[str, Any]]:
    """What clips that are judged share with clips that are learned from, between the data sets of a run, as
    `findings.overlaps` gives it. records: of each role."""
    learned = [(str(settings.data), "train", records["train"])] + [(d, "train", Path(d)) for d in settings.mix.data]
    judged = [(str(settings.data), split, records["train"]) for split in ("valid", "test")]
    if "cross" in records:
        judged.append((str(settings.cross.data), settings.evaluate.split, records["cross"]))
    known = [(f"{name} ({split})", read_index(path, split)) for name, split, path in learned]
    found = []
    for name, split, path in judged:
        asked = (f"{name} ({split})", read_index(path, split))
        for (other, _, _), group in zip(learned, known, strict=True):
            if other != name:
                found += overlaps([group, asked])
    return found


def _check_splits(
    settings: InputSettings, role: str, dataset: Dataset, clips: Sequence[Sample | Entry] | None
) -> dict[str, bool]:
    """Split -> whether it has labels. Raises InputError if a stage will find no clips of a split that it needs."""
    labelled = labelled_splits(clips)
    for stage, split in splits_read(settings.stages, settings.evaluate.split, role):
        if split not in labelled:
            raise InputError(
                f"{dataset.data}: stage {stage} needs clips of mode {split}, and there are none; add "
                f"some, or leave {stage} out of stages"
            )
    return labelled


def _check_labels(
    settings: InputSettings, dataset: Dataset, clips: Sequence[Sample | Entry], score_range: tuple[float, float]
) -> None:
    """Raises InputError for a clip whose concepts the table does not know, or if no clip has one to be rewarded for."""
    if not set(settings.stages) & ASKING:
        return
    if not settings.labels.neutral_eps < max(abs(bound) for bound in score_range):
        raise InputError(
            f"labels.neutral_eps: with {settings.labels.neutral_eps:g}, every score of {list(score_range)} is Neutral; "
            "lower it"
        )
    format = make_format(settings.format, score_range, settings.labels.neutral_eps, settings.concepts)
    truths = [format.truth(clip) for clip in clips]
    rewarded = "concept" in format.parts and settings.reward.weight("concept") > 0
    if "grpo" in settings.stages and rewarded and not any(truth.concepts for truth in truths if truth):
        raise InputError(
            f"{dataset.data}: no clip has a label of {', '.join(c.name for c in format.marked)}; name a "
            "table of the concepts that it has (config.concepts.table), or set reward.weights.concept=0"
        )


def _check_concepts(settings: InputSettings) -> None:
    """Raises InputError for a table of concepts that cannot be read, or weights of concepts that it does not have."""
    known = [concept.name for concept in concept_table(settings.concepts)]
    for name in settings.reward.concept_weights:
        if name not in known:
            raise InputError(f"reward.concept_weights.{name}: no such concept; there are {', '.join(known)}")
