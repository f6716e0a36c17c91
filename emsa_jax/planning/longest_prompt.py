"""The longest prompt that a plan is made for, as inputs of the policy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from emsa_jax.errors import InputError
from emsa_jax.planning.planning_options import PromptShape
from emsa_jax.policy.inputs import InputShape, PromptInputs, build_inputs, smallest_shape
from emsa_jax.policy.positions import num_audio_tokens
from emsa_jax.policy.prompt_row import Row, expand, patchify
from emsa_jax.policy.thinker_config import ThinkerConfig


def longest_prompt(asked: PromptShape, policy: ThinkerConfig, prompts: int) -> tuple[InputShape, PromptInputs]:
    """The input shape of so many of these prompts, and the inputs of one of them as NumPy arrays.

    Raises:
      InputError: the media alone take as many tokens as the prompt has.
    """
    tokens, audios, videos = [], [], []
    if asked.frames and policy.vision:
        frames = np.zeros((asked.frames, asked.height, asked.width, 3), np.uint8)
        videos, tokens = [patchify(policy, frames)], [policy.video_token_id]
    mel = np.zeros((round(100 * asked.audio_seconds), policy.audio.num_mel_bins if policy.audio else 0), np.float32)
    if num_audio_tokens(len(mel)) and policy.audio:
        audios, tokens = [mel], [*tokens, policy.audio_token_id]
    tokens = expand(policy, tokens, audios, (), videos)
    if len(tokens) >= asked.tokens:
        raise InputError(f"prompt.tokens is {asked.tokens}, but frames and sound alone make {len(tokens)}")
    row = Row(tokens + [0] * (asked.tokens - len(tokens)), audios, [], videos)
    shape = smallest_shape(policy, [row])
    shape = replace(shape, chunks=prompts * shape.chunks, patch_rows=prompts * shape.patch_rows)
    return shape, build_inputs(policy, [row])
