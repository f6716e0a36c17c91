"""What a stage trains: a policy as a whole, or an adapter over it. Where it begins, and what it writes in the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jax

from emsa_jax.answers.concept_table import concept_table
from emsa_jax.answers.formats import format_class
from emsa_jax.data.records import Manifest
from emsa_jax.errors import InputError
from emsa_jax.learning.sft_update import split_trained
from emsa_jax.parallel import processes
from emsa_jax.policy import hf, peft
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.policy.lora import Adapter, abstract_adapter, init_adapter
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.trained_for import TrainedFor
from emsa_jax.rollout.prompted_data import QuestionOptions, Split
from emsa_jax.rollout.rollout_options import PromptOptions
from emsa_jax.runtime.console import say
from emsa_jax.training.artifacts import weights_fingerprint


class ShownOptions(Protocol):
    """What prompts show while the policy learns, and whether a warning ends the run."""

    prompt: PromptOptions
    modality_dropout: Mapping[str, float]
    strict: bool


def trained_and_frozen(
    checkpoint: Checkpoint, trainable: str, lora: LoraOptions, seed: int, adapter: str
) -> tuple[Any, dict]:
    """(trained part, frozen part) of a policy before the first update.

    trainable: "all" or "lora". adapter: directory of one to start from, "" for a new one. Raises InputError for an
    adapter of a policy that is trained as a whole."""
    if trainable == "all":
        if adapter:
            raise InputError("sft.trainable=all trains the whole policy: it cannot start from config.adapter")
        return checkpoint.params, {}
    if adapter:
        return peft.load_adapter(adapter, checkpoint.config), checkpoint.params
    return init_adapter(checkpoint.config, lora, jax.random.key(seed), checkpoint.params), checkpoint.params


def trained_adapter(checkpoint: Checkpoint, lora: LoraOptions, directory: Path | None) -> Adapter:
    """What is trained beside a frozen base, as far as its names go: of a directory, or else as the options say."""
    return peft.load_adapter(directory, checkpoint.config) if directory else abstract_adapter(checkpoint.config, lora)


def trained_for(settings: QuestionOptions, manifest: Manifest) -> TrainedFor:
    """What a policy learns on a training set, to be said in its directory. manifest: of the set's records."""
    frames = manifest.options
    named = "accuracy" in format_class(settings.format).parts  # a class
    return TrainedFor(
        format=settings.format,
        score_range=tuple(map(float, manifest.score_range)),
        language=manifest.languages[0] if len(manifest.languages) == 1 else "",
        modalities=settings.prompt.modalities,
        audio_in_video=settings.prompt.audio_in_video,
        capitals=settings.prompt.capitals,
        num_frames=frames.get("num_frames", 0),
        fps=float(frames.get("fps", 0)),
        max_pixels=frames.get("max_pixels", 0),
        classes=settings.concepts.classes,
        concepts=tuple(concept.name for concept in concept_table(settings.concepts)) if named else (),
    )


def warn_of_unseen_towers(stage: str, adapter: Adapter, train: Split, options: ShownOptions) -> tuple[str, ...]:
    """Warns, before anything is computed, of towers that are trained while no prompt shows what they encode; returns
    the warnings. adapter: what is trained, as far as its names go. Raises InputError where warnings end the run."""
    prompted, dropped = options.prompt.modalities, options.modality_dropout
    lines = []
    for tower, modality in (("audio", "audio"), ("vision", "video")):
        there = any((e.num_frames if modality == "video" else e.mel_frames) > 0 for e in train.entries)
        shown = there and modality in prompted and dropped.get(modality, 0.0) < 1
        if shown or tower not in {*adapter.weights, *adapter.whole}:
            continue
        why = "no clip of the training set has any" if not there else f"modality_dropout.{modality} is 1"
        why = f"prompt.modalities leaves {modality} out" if modality not in prompted else why
        lines.append(
            f"{stage}: the adapter reaches into the {tower} tower, but no prompt shows {modality}: {why}; nothing of "
            f"it will be learned. Take {tower}.* out of lora.targets and lora.also, or show {modality}"
        )
    for line in lines:
        if options.strict:
            raise InputError(f"{line} (strict=True)")
        say(f"warning: {line}")
    return tuple(lines)


def write_trained(
    directory: Path, checkpoint: Checkpoint, trained: Any, extra: dict, trained_for: TrainedFor | None = None
) -> None:
    """Writes directory/policy or directory/adapter: whichever was trained.

    What a killed run left there is replaced: the outputs of a stage that is not marked as done are its own."""
    params, adapter = split_trained(trained, checkpoint.params)
    if processes.is_main():
        shutil.rmtree(directory / ("policy" if adapter is None else "adapter"), ignore_errors=True)
    if adapter is None:
        hf.save(directory / "policy", checkpoint.config, params, checkpoint.directory, extra, trained_for=trained_for)
        return
    base_hash = processes.broadcast(lambda: weights_fingerprint(checkpoint.directory), "hashes of the base")
    base = checkpoint.directory.absolute()
    if base.is_relative_to(directory.parent):  # of this run: its files do not depend on where it lies
        base = os.path.relpath(base, directory / "adapter")
    extra = extra | {"base": base_hash}
    peft.save_adapter(directory / "adapter", checkpoint.config, adapter, str(base), extra, trained_for)
