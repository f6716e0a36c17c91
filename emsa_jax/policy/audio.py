"""The audio tower. Every chunk of 2 * n_window mel frames is encoded alone; pooling runs over the whole audio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.policy.attention import attention
from emsa_jax.policy.layers import layer_norm, linear, singles_of, stack_of, take_in_shards
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.thinker_config import AudioConfig

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


def encode_audio(
    params: dict,
    adapter: Adapter | None,
    config: AudioConfig,
    mel: Float[Array, "k frames bins"],
    mel_length: Int[Array, " k"],
    pairs: Int[Array, "a 2"],
    shards: int = 1,
) -> Float[Array, "a output"]:
    """Log-mel chunks -> audio token embeddings.

    Args:
      params: the "audio" subtree.
      adapter: LoRA, or None.
      mel: [K, frames, num_mel_bins] float, at most 2 * n_window frames; those at or beyond the length may hold
        anything.
      mel_length: [K] int32, valid frames of each chunk (0: an unused chunk).
      pairs: [A, 2] int32, indices into the flattened [K * frames / 2] positions that each token averages.
      shards: equal parts of chunks and pairs; indices count from the beginning of their own part.

    Returns:
      [A, output_dim].
    """
    return project_audio(params, adapter, audio_states(params, adapter, config, mel, mel_length, pairs, shards))


def audio_states(
    params: dict,
    adapter: Adapter | None,
    config: AudioConfig,
    mel: Float[Array, "k frames bins"],
    mel_length: Int[Array, " k"],
    pairs: Int[Array, "a 2"],
    shards: int = 1,
) -> Float[Array, "a d"]:
    """States [A, d_model] of the audio tokens after the last layer, pooled. Arguments as in `encode_audio`."""
    x = encode_chunks(params, adapter, config, mel, mel_length)
    flat, pairs = x.reshape(shards, -1, x.shape[-1]), pairs.reshape(shards, -1, 2)
    pooled = (take_in_shards(flat, pairs[..., 0]) + take_in_shards(flat, pairs[..., 1])) / 2
    return pooled.reshape(-1, x.shape[-1])


def audio_features(params: dict, _: Adapter | None, states: Float[Array, "a d"]) -> Float[Array, "a d"]:
    """What the last linear of the projector, "proj", reads of the states: [A, d_model]."""
    return layer_norm(states, params["ln_post"])


def project_audio(params: dict, adapter: Adapter | None, states: Float[Array, "a d"]) -> Float[Array, "a output"]:
    """Token embeddings [A, output_dim] of the states."""
    scale, lora = adapter.scale if adapter else 0.0, singles_of(adapter, "audio")
    return linear(audio_features(params, adapter, states), params["proj"], lora.get("proj"), scale)


def encode_chunks(
    params: dict,
    adapter: Adapter | None,
    config: AudioConfig,
    mel: Float[Array, "k frames bins"],
    mel_length: Int[Array, " k"],
) -> Float[Array, "k positions d"]:
    """States [K, n_window, d_model] of the chunks after the last layer, before pooling and the last norm: Whisper's
    encoder, whose one chunk of 30 s has n_window 1500. Arguments as in `encode_audio`."""
    lora, scale = stack_of(adapter, "audio"), adapter.scale if adapter else 0.0
    frames = mel.shape[1]
    dtype = params["conv1"]["weight"].dtype
    valid = jnp.arange(frames)[None, :] < mel_length[:, None]
    x = jnp.where(valid[..., None], mel, 0).astype(dtype)
    x = jax.nn.gelu(_conv(x, params["conv1"], stride=1), approximate=False)
    x = jnp.where(valid[..., None], x, 0)  # so the next convolution sees zeros beyond the chunk's true end
    x = jax.nn.gelu(_conv(x, params["conv2"], stride=2), approximate=False)
    x = x + jnp.asarray(sinusoids(x.shape[1], config.d_model), dtype)  # positions restart in every chunk
    length = (mel_length - 1) // 2 + 1
    keys = jnp.arange(x.shape[1])[None, :] < length[:, None]
    mask = jnp.broadcast_to(keys[:, None, :], (x.shape[0], x.shape[1], x.shape[1]))

    def layer(x: jax.Array, stacked: tuple) -> tuple[jax.Array, None]:
        p, ab = stacked
        h = layer_norm(x, p["attention_norm"])
        q, k, v = (
            linear(h, p[n], ab.get(n), scale).reshape(*h.shape[:2], config.encoder_attention_heads, -1)
            for n in ("q_proj", "k_proj", "v_proj")
        )
        x = x + linear(attention(q, k, v, mask).reshape(h.shape), p["out_proj"], ab.get("out_proj"), scale)
        h = jax.nn.gelu(linear(layer_norm(x, p["mlp_norm"]), p["fc1"], ab.get("fc1"), scale), approximate=False)
        return x + linear(h, p["fc2"], ab.get("fc2"), scale), None

    return jax.lax.scan(layer, x, (params["layers"], lora))[0]


def _conv(x: jax.Array, p: dict, stride: int) -> jax.Array:
    """A width-3 convolution along time: x [K, T, in] -> [K, ceil(T / stride), out]."""
    y = jax.lax.conv_general_dilated(x, p["weight"], (stride,), [(1, 1)], dimension_numbers=("NWC", "OIW", "NWC"))
    return y + p["bias"]


def sinusoids(length: int, width: int) -> np.ndarray:
    """Position table [length, width]: sines, then cosines (not interleaved)."""
    inverse = np.exp(-np.log(10000.0) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(length)[:, None] * inverse[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
