"""A policy that is opened to be asked: its weights, its form of answers, and what it is shown of a clip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.answers.formats import make_format
from emsa_jax.data.data_options import MODALITIES, PrepareOptions
from emsa_jax.errors import InputError
from emsa_jax.policy import peft
from emsa_jax.policy.checkpoint import Checkpoint, load_weights, open_checkpoint
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.layout import place
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.policy.trained_for import TrainedFor, read_trained_for
from emsa_jax.rollout.prompts import Prompter
from emsa_jax.rollout.rollout_options import PromptOptions
from emsa_jax.runtime.placement import Placement
from emsa_jax.serving.serving_options import AskedAs, ServedPolicyOptions
from emsa_jax.training.artifacts import check_base


@dataclass(frozen=True, kw_only=True)
class OpenedPolicy:
    """A policy that can be asked.

    Attributes:
      checkpoint: without weights.
      base, adapter: laid out for decoding.
      prompter: makes its prompts of clips, in its form of answers.
      language: in which it is asked.
      prepare: how its clips are decoded.
      notes: what is to be said of how it is asked.
    """

    checkpoint: Checkpoint
    base: dict
    adapter: Adapter | None
    placement: Placement
    prompter: Prompter
    language: str
    prepare: PrepareOptions
    notes: tuple[str, ...]

    @property
    def config(self) -> ThinkerConfig:
        return self.checkpoint.config

    @property
    def format(self) -> AnswerFormat:
        return self.prompter.format

    @property
    def modalities(self) -> tuple[str, ...]:
        return self.prompter.options.modalities


def open_policy(options: ServedPolicyOptions, max_seconds: float, decoders: int = 0) -> OpenedPolicy:
    """Opens a policy, asked as its directory says unless the options say otherwise.

    max_seconds: longer clips are refused. decoders: processes that decode media, 0: one per CPU. Raises: InputError
    naming the file or field, as checkpoints and adapters do."""
    if not options.policy:
        raise InputError("config.policy: name a policy directory, such as runs/mine/export/merged")
    directory = Path(options.policy).expanduser()
    adapter_dir = Path(options.adapter).expanduser() if options.adapter else None
    if adapter_dir and not adapter_dir.is_dir():
        raise InputError(f"config.adapter: there is no directory {options.adapter}")
    checkpoint = open_checkpoint(directory, weights=False)
    if adapter_dir:
        check_base(adapter_dir, directory)
    asked, notes = asked_as(options.asked, checkpoint.config, read_trained_for(adapter_dir, directory))
    concepts = replace(options.asked.concepts, classes=asked.classes)
    format = make_format(asked.format, asked.score_range, concepts=concepts)
    prompt = PromptOptions(modalities=asked.modalities, audio_in_video=asked.audio_in_video, capitals=asked.capitals)
    prompter = Prompter(checkpoint, format, prompt, asked.language)
    config = read_checked_config(directory)
    placement = Placement.of(config, mesh=options.mesh, dtype=options.dtype, trained=None)
    adapter = peft.load_adapter(adapter_dir, config) if adapter_dir else None
    return OpenedPolicy(
        checkpoint=checkpoint,
        base=load_weights(checkpoint, options.dtype, placement.decode).params,
        adapter=adapter and place(adapter, placement.decode.adapter(adapter)),
        placement=placement,
        prompter=prompter,
        language=asked.language or "en",
        prepare=_prepare_options(asked, max_seconds, decoders),
        notes=notes,
    )


def asked_as(
    options: AskedAs, config: ThinkerConfig, trained_for: TrainedFor | None
) -> tuple[TrainedFor, tuple[str, ...]]:
    """(how the policy is asked, what is to be said of that): what the options say, then what its directory says."""
    towers = {"text": True, "audio": config.audio is not None, "video": config.vision is not None}
    known = trained_for or TrainedFor(
        format="dc", score_range=(-1.0, 1.0), modalities=tuple(name for name in MODALITIES if towers[name])
    )
    given: dict[str, Any] = {
        name: value
        for name in ("format", "score_range", "language", "modalities", "num_frames", "max_pixels")
        if (value := getattr(options, name))
    }
    if "num_frames" in given:
        given["fps"] = 0.0
    if options.concepts.classes != 3:
        given["classes"] = options.concepts.classes
    asked = replace(known, **given)
    if trained_for is None:
        return asked, (
            f"note: no emsa.json says how this policy was trained; it is asked for {asked.format} answers with scores "
            f"from {asked.score_range[0]:g} to {asked.score_range[1]:g}",
        )
    return asked, tuple(
        f"warning: asked.{name} is {value}, but the policy was trained with {getattr(known, name)}"
        for name, value in given.items()
        if name != "fps" and value != getattr(known, name) and getattr(known, name)
    )


def _prepare_options(asked: TrainedFor, max_seconds: float, decoders: int) -> PrepareOptions:
    """How clips are decoded for a policy that is asked so."""
    given = {"num_frames": asked.num_frames, "max_pixels": asked.max_pixels, "fps": asked.fps}
    known = {name: value for name, value in given.items() if value}
    return PrepareOptions(**known, workers=decoders, max_seconds=max_seconds, max_bad_share=1.0)
