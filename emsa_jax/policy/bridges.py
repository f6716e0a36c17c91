"""The bridges of XEmoGPT (papers/xemogpt, section III): a few layers between a frozen encoder and the language model,
which learn to bring out emotional cues; and the heads with which stages 1 and 2 train them.

VECB reads class tokens of frames, adds positions and is two of CLIP's layers; AECB reads frames of sound and is two of
HuBERT's layers with norms after the sums. Both can stand behind any encoder of their width.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from emsa_jax.policy.encoder_layers import LayerKind, encoder_layers, quick_gelu
from emsa_jax.policy.encoder_tables import HUBERT_LAYER
from emsa_jax.policy.layers import linear
from emsa_jax.policy.parameter_table import CLIP_LAYER, ParamSpec, layers_table, linear_params
from emsa_jax.policy.thinker_config import AudioConfig, ClipConfig, HubertConfig


@dataclass(frozen=True)
class BridgeConfig:
    """A bridge, as wide as its encoder.

    Attributes:
      positions: frames that have a learned position (VECB); 0: the bridge adds no positions (AECB).
      output_size: of the space in which clips and captions are compared.
      text_size: of a caption's vector before its linear.
    """

    hidden_size: int = 1024
    intermediate_size: int = 4096
    num_attention_heads: int = 16
    num_hidden_layers: int = 2
    layer_norm_eps: float = 1e-5
    positions: int = 16
    output_size: int = 768
    text_size: int = 768

    @classmethod
    def after(cls, encoder: ClipConfig | HubertConfig | AudioConfig, **fields: int) -> BridgeConfig:
        """The bridge behind an encoder, with layers of its sizes; fields: others of this class."""
        if isinstance(encoder, AudioConfig):
            sizes = (encoder.d_model, encoder.encoder_ffn_dim, encoder.encoder_attention_heads)
            return cls(*sizes, **{"positions": 0} | fields)
        names = ("hidden_size", "intermediate_size", "num_attention_heads", "layer_norm_eps")
        fields = {"positions": 16 if isinstance(encoder, ClipConfig) else 0} | fields
        return cls(**{name: getattr(encoder, name) for name in names}, **fields)

    @property
    def sees(self) -> bool:
        """Whether this is VECB."""
        return self.positions > 0


def encode_bridge(params: dict, config: BridgeConfig, x: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    """What a bridge makes of an encoder's states.

    Args:
      params: {"layers"} and, for VECB, {"position_embedding"}: "bridge" of `bridge_table`.
      x: [B, T, hidden_size], T at most `positions` for VECB.
      valid: [B, T] bool; None: all. Nobody attends to others, and they come out as 0.

    Returns:
      [B, T, hidden_size].
    """
    valid = jnp.ones(x.shape[:2], bool) if valid is None else valid
    x = x + params["position_embedding"][:, : x.shape[1]] if config.sees else x
    x = jnp.where(valid[..., None], x, 0)
    activation = {"activation": quick_gelu} if config.sees else {}
    kind = LayerKind(config.num_attention_heads, config.layer_norm_eps, norm_first=config.sees, **activation)
    x = encoder_layers(params["layers"], kind, x, jnp.broadcast_to(valid[:, None, :], (*x.shape[:2], x.shape[1])))
    return jnp.where(valid[..., None], x, 0)


def clip_vectors(heads: dict, config: BridgeConfig, states: jax.Array, valid: jax.Array | None = None) -> jax.Array:
    """One vector for each clip, [B, output_size]: VECB's frames weighted by attention to a learned vector, AECB's by
    their mean. states and valid as `encode_bridge` gives and takes them."""
    valid = jnp.ones(states.shape[:2], bool) if valid is None else valid
    if config.sees:
        scores = jnp.where(valid, states @ heads["attn_vector"], -jnp.inf)
        weights = jax.nn.softmax(scores, axis=1)
    else:
        weights = valid / jnp.maximum(valid.sum(1, keepdims=True), 1)
    return linear(jnp.einsum("bt,btd->bd", weights.astype(states.dtype), states), heads["project"])


def caption_vectors(heads: dict, captions: jax.Array) -> jax.Array:
    """[B, output_size] of captions' vectors [B, text_size], which a frozen text encoder gave."""
    return linear(captions, heads["text_project"])


def order_logits(heads: dict, clips: jax.Array) -> jax.Array:
    """[B]: how much each clip's vector [B, output_size] looks like one of frames in their true order."""
    return linear(jax.nn.relu(linear(clips, heads["order_in"])), heads["order_out"])[:, 0]


def bridge_table(config: BridgeConfig) -> Iterator[ParamSpec]:
    """The parameters of a bridge, under the names of the published inference code's VECB or AECB."""
    d, at = config.hidden_size, ("bridge",)
    sizes = (d, config.intermediate_size, config.num_hidden_layers)
    if config.sees:
        shape, axes = (1, config.positions, d), ("norm", "norm", "vision_embed")
        yield ParamSpec((*at, "position_embedding"), "position_embedding", shape, axes, init="embed")
        yield from layers_table((*at, "layers"), "visual_alignment_layer.{n}", CLIP_LAYER, *sizes)
    else:
        yield from layers_table((*at, "layers"), "audio_alignment_layer.{n}", HUBERT_LAYER, *sizes)


def heads_table(config: BridgeConfig) -> Iterator[ParamSpec]:
    """The parameters of the heads of stage 1 (VECB) or 2 (AECB); `mask_token` and `temperature` have names of ours."""
    d, out, at = config.hidden_size, config.output_size, ("heads",)
    axes = ("media", "vision_embed")
    if config.sees:
        yield ParamSpec((*at, "attn_vector"), "attention_pooling.attn_vector", (d,), ("norm",), init="embed")
    project = "visual_project" if config.sees else "audio_project"
    yield from linear_params((*at, "project"), project, (out, d), axes)
    yield from linear_params((*at, "text_project"), "text_project", (out, config.text_size), axes)
    if config.sees:
        yield from linear_params((*at, "frame_reconstructor"), "frame_reconstructor", (d, d), axes)
        yield from linear_params((*at, "order_in"), "temporal_disc_head.0", (out, out), axes)
        yield from linear_params((*at, "order_out"), "temporal_disc_head.2", (1, out), axes)
        yield ParamSpec((*at, "mask_token"), "mask_token", (d,), ("norm",), init="embed")
    yield ParamSpec((*at, "temperature"), "temperature", (), (), init="ones")
