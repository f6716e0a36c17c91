"""The bridges of XEmoGPT (papers/xemogpt, section III): a few layers between a frozen encoder and the language model,
which learn to bring out emotional cues; and the heads with which stages 1 and 2 train them.

VECB reads class tokens of frames, adds positions and is two of CLIP's layers; AECB reads frames of sound and is two of
HuBERT's layers with norms after the sums. Both can stand behind any encoder of their width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp

from emsa_jax.policy.encoder_layers import LayerKind, encoder_layers, quick_gelu
from emsa_jax.policy.inputs import PromptInputs
from emsa_jax.policy.layers import linear, singles_of, take_in_shards
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.parameter_table import ParamSpec, linear_params
from emsa_jax.policy.prompt_row import ASKS
from emsa_jax.policy.thinker_config import BridgeConfig, ThinkerConfig

VISUAL, AUDIO = ASKS.index("visual"), ASKS.index("audio")


def encode_bridge(
    params: dict,
    config: BridgeConfig,
    x: jax.Array,
    valid: jax.Array | None = None,
    places: jax.Array | None = None,
) -> jax.Array:
    """What a bridge makes of an encoder's states.

    Args:
      params: {"layers"} and, for VECB, {"position_embedding"}: "bridge" of `bridge_table`.
      x: [B, T, hidden_size], T at most `positions` for VECB, unless places are given.
      valid: [B, T] bool; None: all. Nobody attends to others, and they come out as 0.
      places: [B, T] int32, which of the positions each state has (VECB); None: 0, 1, 2 and so on.

    Returns:
      [B, T, hidden_size].
    """
    valid = jnp.ones(x.shape[:2], bool) if valid is None else valid
    if config.sees:
        table = params["position_embedding"]
        x = x + (table[:, : x.shape[1]] if places is None else table[0][places])
    x = jnp.where(valid[..., None], x, 0)
    activation = {"activation": quick_gelu} if config.sees else {}
    kind = LayerKind(config.num_attention_heads, config.layer_norm_eps, norm_first=config.sees, **activation)
    x = encoder_layers(params["layers"], kind, x, jnp.broadcast_to(valid[:, None, :], (*x.shape[:2], x.shape[1])))
    return jnp.where(valid[..., None], x, 0)


def bridged_media(
    params: dict,
    adapter: Adapter | None,
    config: ThinkerConfig,
    x: jax.Array,
    inputs: PromptInputs,
    features: Mapping[str, jax.Array],
) -> jax.Array:
    """Embeddings [B, S, D] of prompts, with media tokens in their places that went through bridge and projection.

    A bridge reads a tower's features where they stand in the prompt: a prompt's places of one medium are a sequence,
    and nothing has to be packed for it. Of a prompt that asks about one branch, no gradient flows into the other's
    tokens.

    Args:
      x: [B, S, D] embeddings of the tokens.
      features: tower -> what comes before bridge and projection, [tokens, width] (`thinker.projector_features`).
    """
    index, shards, first = jnp.asarray(inputs.media_index), inputs.shards, 0
    scale = adapter.scale if adapter else 0.0
    for asked_other, tower in ((VISUAL, "audio"), (AUDIO, "vision")):
        if tower not in features:
            continue
        table, bridge = features[tower].reshape(shards, -1, features[tower].shape[-1]), _bridge_of(config, tower)
        mine = (index >= first) & (index < first + table.shape[1])
        h = take_in_shards(table, jnp.where(mine, index - first, 0).reshape(shards, -1))
        h, first = h.reshape(*index.shape, -1), first + table.shape[1]
        if bridge is not None:
            places = jnp.clip(jnp.cumsum(mine, axis=1) - 1, 0, max(bridge.positions, 1) - 1)
            h = encode_bridge(params[tower]["bridge"], bridge, h, mine, places)
        last = "merger_out" if "merger_out" in params[tower] else "proj"
        tokens = linear(h, params[tower][last], singles_of(adapter, tower).get(last), scale)
        blocked = (jnp.asarray(inputs.asks) == asked_other)[:, None, None]
        tokens = jnp.where(blocked, jax.lax.stop_gradient(tokens), tokens)
        x = jnp.where(mine[..., None], tokens.astype(x.dtype), x)
    return x


def _bridge_of(config: ThinkerConfig, tower: str) -> BridgeConfig | None:
    return config.audio_bridge if tower == "audio" else config.vision_bridge


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
