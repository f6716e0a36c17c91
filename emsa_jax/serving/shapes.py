"""The sizes of batches for which programs are compiled, and which of them a prompt fits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emsa_jax.data.data_options import FPS_FRAMES, PrepareOptions
from emsa_jax.data.records import Clip
from emsa_jax.errors import InputError
from emsa_jax.policy.inputs import InputShape, smallest_shape
from emsa_jax.policy.positions import num_audio_tokens
from emsa_jax.policy.prompt_row import Row
from emsa_jax.policy.thinker_config import ClipConfig, ThinkerConfig
from emsa_jax.rollout.prompts import Prompter

STEP = 64  # tokens by which chosen prompt lengths differ at least


@dataclass(frozen=True)
class PromptShape:
    """The most that a prompt may be. Batches of n rows have room for n of these, whatever is among them.

    prompt: tokens. chunks: of log-mel. patch_rows, patch_row: rows of patches, and patches in one of them."""

    prompt: int
    chunks: int = 0
    patch_rows: int = 0
    patch_row: int = 0

    def holds(self, need: InputShape) -> bool:
        """Whether a prompt of these sizes fits."""
        return all(getattr(need, name) <= getattr(self, name) for name in ("prompt", "chunks", "patch_rows"))

    def of(self, rows: int) -> InputShape:
        """The inputs of so many prompts."""
        return InputShape(self.prompt, rows * self.chunks, rows * self.patch_rows, self.patch_row)


def need_of(config: ThinkerConfig, row: Row, patch_row: int) -> InputShape:
    """The sizes of one prompt, in rows of `patch_row` patches. Raises InputError for pictures larger than that."""
    need = smallest_shape(config, [row], patch_row)
    if need.patch_row > patch_row:
        raise InputError(f"a picture has {need.patch_row} patches, but the server was started for {patch_row} at most")
    return need


def largest_frame(config: ThinkerConfig, prepare: PrepareOptions) -> int:
    """Patches of the largest frame that decoding gives; 0 for a policy that sees nothing."""
    if config.vision is None:
        return 0
    if isinstance(config.vision, ClipConfig):
        return config.vision.unit
    unit = config.vision.unit
    return max(unit, prepare.max_pixels // config.vision.patch_size**2 // unit * unit)


def served_shapes(
    prompter: Prompter, prepare: PrepareOptions, max_text: int, max_images: int, buckets: Sequence[int] = ()
) -> tuple[PromptShape, ...]:
    """The prompts of a server, rising. max_text: tokens of words. max_images: pictures of the longest prompt at least.
    buckets: prompt lengths; (): three up to the longest that may be needed, fewer where they would hardly differ."""
    config, used = prompter.checkpoint.config, prompter.options.modalities
    sees, hears = "video" in used and config.vision is not None, "audio" in used and config.audio is not None
    frame, temporal, mel = largest_frame(config, prepare), 0, 0
    if config.vision:
        most = (
            prepare.num_frames if not prepare.fps else min(FPS_FRAMES[1], math.ceil(prepare.fps * prepare.max_seconds))
        )
        temporal = config.vision.grid(max(most, 1), 28, 28)[0]
    if config.audio:
        mel = math.ceil(prepare.max_seconds * 100)
    if not buckets:
        least = len(prompter.row(_empty_clip()).tokens) + min(STEP, max_text)
        visual = temporal * _frame_tokens(config, frame) if sees else 0
        longest = least + max_text + visual + (num_audio_tokens(mel) + STEP if hears else 0)
        buckets = sorted({_up(least), _up(math.sqrt(least * longest)), _up(longest)})
    temporal = max(temporal, max_images)
    return tuple(
        PromptShape(bucket, *_media(config, bucket, temporal, frame, mel), frame) for bucket in sorted(buckets)
    )


def _media(config: ThinkerConfig, bucket: int, temporal: int, frame: int, mel: int) -> tuple[int, int]:
    """Chunks of sound and rows of patches for which a prompt of `bucket` tokens can have placeholders at all."""
    chunks = rows = 0
    if config.audio:
        chunks = -(-min(mel, 4 * bucket + 4) // (2 * config.audio.n_window))
    if config.vision:  # two frames that are a little larger than half of a row take one row each
        rows = min(temporal, -(-2 * bucket // _frame_tokens(config, frame)) + 1)
    return chunks, rows


def _frame_tokens(config: ThinkerConfig, frame: int) -> int:
    return max(1, frame // config.vision.spatial_merge_size**2) if config.vision else 0


def exact_shape(config: ThinkerConfig, row: Row, prepare: PrepareOptions) -> PromptShape:
    """A shape for one prompt, a little larger than needed, so that prompts of about its size share programs."""
    frame = largest_frame(config, prepare)
    need = smallest_shape(config, [row], frame)
    return PromptShape(_up(need.prompt), need.chunks, -(-need.patch_rows // 4) * 4, need.patch_row)


def _up(tokens: float) -> int:
    return math.ceil(tokens / STEP) * STEP


def _empty_clip() -> Clip:
    nothing = np.zeros((0, 28, 28, 3), np.uint8), 0.0, np.zeros((0, 128), np.float32)
    return Clip("", "", None, "test", "en", *nothing)
