"""HuBERT (Hsu et al. 2021), an encoder of speech: convolutions over the waveform, then a transformer over frames of
20 ms, in its base style (group norm, norms after the sums) and its large one (layer norms, norms before)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.policy.encoder_layers import LayerKind, encoder_layers, gelu
from emsa_jax.policy.layers import layer_norm, linear
from emsa_jax.policy.thinker_config import HubertConfig

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Shaped

Count = TypeVar("Count", int, np.ndarray)
CONV_EPS = 1e-5  # of the norms among the convolutions, whatever layer_norm_eps says


def normalise_waves(waves: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Waveforms as HuBERT reads them: each brought to mean 0 and variance 1, then padded with zeros.

    Args:
      waves: mono, 16 kHz, [samples] each.

    Returns:
      (values [B, samples] float32, mask [B, samples] bool, valid samples).
    """
    longest = max(map(len, waves))
    values, mask = np.zeros((len(waves), longest), np.float32), np.zeros((len(waves), longest), bool)
    for i, wave in enumerate(waves):
        wave = np.asarray(wave, np.float32)
        values[i, : len(wave)] = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-7)
        mask[i, : len(wave)] = True
    return values, mask


def num_frames(config: HubertConfig, samples: Count) -> Count:
    """Frames that so many samples give; also for arrays of integers."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def encode_hubert(
    params: dict, config: HubertConfig, values: Float[Array, "b samples"], mask: Shaped[Array, "b samples"]
) -> tuple[Float[Array, "b frames d"], Bool[Array, "b frames"]]:
    """Waveforms -> states of frames after the last layer.

    In the base style padding changes what a clip gives, since the group norm runs over it: as published.

    Args:
      params: of `hubert_table`.
      values: [B, samples] float, as `normalise_waves` gives them.
      mask: [B, samples] bool, valid samples, which stand first.

    Returns:
      (states [B, frames, hidden_size], valid frames [B, frames] bool); states of padding hold something finite.
    """
    x = _convolutions(params["conv_layers"], config, values)
    length = num_frames(config, jnp.asarray(mask).sum(1, dtype=jnp.int32))
    valid = jnp.arange(x.shape[1])[None] < length[:, None]
    x = layer_norm(x, params["feature_norm"], config.layer_norm_eps)
    x = jnp.where(valid[..., None], linear(x, params["feature_projection"]), 0)
    x = x + _positions(params["pos_conv"], config, x)
    before = not config.do_stable_layer_norm
    x = layer_norm(x, params["norm"], config.layer_norm_eps) if before else x
    kind = LayerKind(config.num_attention_heads, config.layer_norm_eps, norm_first=not before)
    to_valid = jnp.broadcast_to(valid[:, None, :], (len(x), x.shape[1], x.shape[1]))
    x = encoder_layers(params["layers"], kind, x, to_valid)
    return x if before else layer_norm(x, params["norm"], config.layer_norm_eps), valid


def _convolutions(params: dict, config: HubertConfig, values: jax.Array) -> jax.Array:
    """[B, samples] -> [B, frames, channels]."""
    x = values[..., None].astype(params["0"]["conv"]["weight"].dtype)
    for i, stride in enumerate(config.conv_stride):
        p = params[str(i)]
        x = jax.lax.conv_general_dilated(
            x, p["conv"]["weight"], (stride,), "VALID", dimension_numbers=("NWC", "OIW", "NWC")
        )
        x = x + p["conv"]["bias"] if "bias" in p["conv"] else x
        if "norm" in p:
            x = layer_norm(x, p["norm"], CONV_EPS) if config.feat_extract_norm == "layer" else _over_time(x, p["norm"])
        x = gelu(x)
    return x


def _over_time(x: jax.Array, p: dict) -> jax.Array:
    """The group norm with a group for each channel: over the frames of a clip, padding too."""
    ones = {"weight": jnp.ones(()), "bias": jnp.zeros(())}
    return layer_norm(x.swapaxes(1, 2), ones, CONV_EPS).swapaxes(1, 2) * p["weight"] + p["bias"]


def _positions(p: dict, config: HubertConfig, x: jax.Array) -> jax.Array:
    """Positions by convolution along time, its weight given as direction v and length g for each place of the kernel;
    the frame that an even kernel adds is cut off."""
    weight = p["v"] * (p["g"] / jnp.sqrt((p["v"] ** 2).sum((0, 1), keepdims=True)))
    half = config.num_conv_pos_embeddings // 2
    y = jax.lax.conv_general_dilated(
        x,
        weight,
        (1,),
        [(half, half)],
        dimension_numbers=("NWC", "OIW", "NWC"),
        feature_group_count=config.num_conv_pos_embedding_groups,
    )
    return gelu(y[:, : x.shape[1]] + p["bias"])
