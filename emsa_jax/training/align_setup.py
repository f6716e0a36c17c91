"""What alignment works with: the policy, the clips that can be described, and what describes them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from emsa_jax.answers.captions import Captions
from emsa_jax.data.records import Entry
from emsa_jax.errors import InputError
from emsa_jax.policy.checkpoint import Checkpoint, open_checkpoint
from emsa_jax.policy.positions import num_audio_tokens
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.training_set import open_train
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import policy_dir, records_dir
from emsa_jax.training.stage_settings import AlignSettings


@dataclass(frozen=True, kw_only=True)
class AlignSetup:
    """checkpoint: without weights. train: clips of the training split that have media and a description, asked for it
    without their words. texts: the description of each."""

    settings: AlignSettings
    checkpoint: Checkpoint
    placement: Placement
    train: Split
    texts: list[str]


def open_setup(run: Run, settings: AlignSettings) -> AlignSetup:
    """Opens the policy's files, the training set and the devices. Raises InputError for what cannot be aligned."""
    options = settings.align
    media = tuple(name for name in settings.prompt.modalities if name != "text")
    checkpoint = open_checkpoint(policy_dir(run, settings), weights=False, attention=settings.attention)
    for tower in options.towers:
        if getattr(checkpoint.config, tower) is None:
            raise InputError(f"align.towers: {checkpoint.directory} has no {tower} tower")
    placement = Placement.of(checkpoint.config, mesh=settings.mesh, dtype=settings.dtype, trained=None)
    placement.sharding.check(options.batch_size, "align.batch_size")
    asking = replace(settings, prompt=replace(settings.prompt, modalities=media, buckets=()))
    train = open_train(asking, records_dir(run, settings, "train"), checkpoint)
    captions = Captions(
        kind=options.targets,
        words=options.words,
        score_range=train.manifest.score_range,
        neutral_eps=settings.labels.neutral_eps,
    )
    texts = captions.texts(train.entries)
    shown = [tower for tower in options.towers if {"audio": "audio", "vision": "video"}[tower] in media]
    chosen = [i for i, entry in enumerate(train.entries) if texts[i] and any(_has(entry, tower) for tower in shown)]
    if not chosen:
        raise InputError(
            f"align.towers: no clip of the training set has a description and, in its prompt, what a tower of "
            f"{', '.join(options.towers)} encodes"
        )
    prompter = replace(train.prompter, format=captions)
    entries, texts = [train.entries[i] for i in chosen], [texts[i] for i in chosen]
    lengths = np.array([prompter.length(entry) for entry in entries])
    train = replace(train, prompter=prompter, entries=entries, lengths=lengths, order=train.order[chosen], parts=())
    say(f"align: {len(texts)} clips, {len(set(texts))} different {options.targets}")
    return AlignSetup(
        settings=settings,
        checkpoint=checkpoint,
        placement=placement,
        train=train.encoded(settings, run.workdir),
        texts=texts,
    )


def _has(entry: Entry, tower: str) -> bool:
    """Whether a clip has what a tower encodes."""
    return entry.num_frames > 0 if tower == "vision" else num_audio_tokens(entry.mel_frames) > 0
