"""Model FLOPs by formula: what the work needs, whatever the program does for it.

A multiplication with its addition counts as two. Linear layers, convolutions, attention and the head count; norms,
activations, rotary embeddings and lookups, all below one percent, do not. Padding, recomputation and unused slots
count nothing: dividing by these numbers gives model FLOPs utilisation (PaLM, appendix B).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import numpy as np

from emsa_jax.policy.inputs import PromptInputs, state_block
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.thinker_config import ClipConfig, ThinkerConfig


@dataclass(frozen=True)
class GroupFlops:
    """FLOPs of the phases of one GRPO step, each prompt computed once for its whole group."""

    encode: float
    prefill: float
    decode: float
    reference: float
    update: float


def group_flops(
    config: ThinkerConfig, adapter: Adapter | None, inputs: PromptInputs, lengths: np.ndarray
) -> GroupFlops:
    """What one step needs.

    Args:
      inputs: of N prompts, as NumPy arrays.
      lengths: [N, G], tokens of each answer.

    The base is frozen: the backward pass computes gradients of activations, and of the adapter's weights.
    """
    prompts = inputs.mask.sum(1)
    answers = np.asarray(lengths, np.float64)
    prompt_pairs, answer_pairs = (prompts * (prompts + 1) / 2).sum(), (answers * (answers + 1) / 2).sum()
    answer_pairs += (answers.sum(1) * prompts).sum()
    text = config.text
    small = 0 if adapter is None else sum(leaf.size for leaf in jax.tree.leaves(adapter.weights.get("text", {})))
    tokens, drawn = prompts.sum() + answers.sum(), answers.sum()
    dense, pairs = 2 * text_linears(config) * tokens, attention_pair(config) * (prompt_pairs + answer_pairs)
    head, low = 2 * text.vocab_size * text.hidden_size * drawn, 2 * small * tokens
    in_prompts = prompts.sum() / tokens  # the fraction of all tokens
    prefill = in_prompts * (dense + low) + attention_pair(config) * prompt_pairs
    forward = dense + low + pairs
    return GroupFlops(
        encode=media_flops(config, inputs) if inputs.states is None else projector_flops(config, inputs),
        prefill=prefill,
        decode=forward - prefill + head,
        reference=forward + head,
        update=2 * (dense + head) + 3 * (low + pairs),
    )


def text_linears(config: ThinkerConfig) -> int:
    """Weights of the decoder's linear layers, without head and embedding."""
    c = config.text
    key_value = 2 * c.num_key_value_heads * c.head_dim
    return c.num_hidden_layers * c.hidden_size * (2 * c.heads_dim + key_value + 3 * c.intermediate_size)


def attention_pair(config: ThinkerConfig) -> int:
    """FLOPs of one query attending to one key, over all heads and layers of the decoder: logit and weighted value."""
    return 4 * config.text.num_hidden_layers * config.text.heads_dim


def media_flops(config: ThinkerConfig, inputs: PromptInputs) -> float:
    """FLOPs of the towers over a batch's frames and sound."""
    sound = _audio(config, inputs) if config.audio else 0.0
    return sound + (_vision(config, inputs) if config.vision else 0.0)


def projector_flops(config: ThinkerConfig, inputs: PromptInputs) -> float:
    """FLOPs of the projectors alone, where the states of the towers are given."""
    total, a, v = 0, config.audio, config.vision
    if a:
        total += 2 * a.d_model * a.output_dim * math.floor(_audio_states(inputs).sum() / 2)
    if v:
        width, tokens = state_block(v) * v.hidden_size, (inputs.frame >= 0).sum() // v.spatial_merge_size**2
        merger = 0 if isinstance(v, ClipConfig) else width**2
        total += 2 * tokens * (merger + width * v.out_hidden_size)
    return float(total)


def _vision(config: ThinkerConfig, inputs: PromptInputs) -> float:
    c, used = config.vision, inputs.frame >= 0
    if isinstance(c, ClipConfig):
        return _clip(c, int(used.sum()) // c.patches)
    patches, merged = used.sum(), c.spatial_merge_size**2 * c.hidden_size
    linears = c.depth * c.hidden_size * (4 * c.hidden_size + 3 * c.intermediate_size) + c.patch_dim * c.hidden_size
    merger = merged * (merged + c.out_hidden_size)
    full = len(c.fullatt_block_indexes)
    pairs = full * _pairs(inputs.frame) + (c.depth - full) * _pairs(inputs.window)
    return float(2 * linears * patches + 2 * merger * patches / c.spatial_merge_size**2 + 4 * c.hidden_size * pairs)


def _clip(c: ClipConfig, frames: int) -> float:
    states = 1 + c.patches
    linears = c.num_hidden_layers * c.hidden_size * (4 * c.hidden_size + 2 * c.intermediate_size) * states
    ends = c.patches * c.patch_dim * c.hidden_size
    projected = (c.patches // c.spatial_merge_size**2) * c.hidden_size * c.out_hidden_size
    pairs = 4 * c.num_hidden_layers * c.hidden_size * states**2
    return float(frames * (2 * (linears + ends + projected) + pairs))


def _pairs(segments: np.ndarray) -> int:
    """Pairs of patches that share a segment, row by row."""
    counts = (np.unique(row[row >= 0], return_counts=True)[1].astype(np.int64) for row in segments)
    return sum(int((count**2).sum()) for count in counts)


def _audio_states(inputs: PromptInputs) -> np.ndarray:
    """[K], states of each chunk."""
    frames = inputs.mel_length.astype(np.int64)
    return np.where(frames > 0, (frames - 1) // 2 + 1, 0)


def _audio(config: ThinkerConfig, inputs: PromptInputs) -> float:
    c, frames, states = config.audio, inputs.mel_length.astype(np.int64), _audio_states(inputs)
    convolutions = 3 * c.d_model * (c.num_mel_bins * frames.sum() + c.d_model * states.sum())
    linears = c.encoder_layers * c.d_model * (4 * c.d_model + 2 * c.encoder_ffn_dim) * states.sum()
    pooled = c.d_model * c.output_dim * math.floor(states.sum() / 2)
    return float(2 * (convolutions + linears + pooled) + 4 * c.encoder_layers * c.d_model * (states**2).sum())
