"""One table describes every parameter; abstract shapes, initial values and names on disk derive from it.

Weights keep the layout they have on disk (a linear is [out, in]), so that loading and export copy bytes and never
transpose. The tensors of all layers of a stack are stored as one array with a leading layer axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from emsa_jax.policy.thinker_config import AudioConfig, BridgeConfig, ClipConfig, ThinkerConfig, VisionConfig

# what the parts of an encoder's layer are called on disk (see `layers_table`)
CLIP_LAYER = dict(norm1="layer_norm1", norm2="layer_norm2", fc1="mlp.fc1", fc2="mlp.fc2")
CLIP_LAYER |= {name: f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
HUBERT_LAYER = {name: f"attention.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
HUBERT_LAYER |= dict(norm1="layer_norm", norm2="final_layer_norm")
HUBERT_LAYER |= dict(fc1="feed_forward.intermediate_dense", fc2="feed_forward.output_dense")


@dataclass(frozen=True)
class ParamSpec:
    """One parameter.

    Attributes:
      path: where it lives in the tree, e.g. ("text", "layers", "q_proj", "weight").
      disk: its name in a thinker-only checkpoint; "{n}" stands for the layer.
      shape: of one layer's tensor, as on disk.
      axes: logical axis of each dimension, for sharding rules.
      layers: how many layers are stacked (0: not stacked).
      init: "normal" (std 1/sqrt(fan in)), "embed" (std 0.02), "ones" or "zeros".
    """

    path: tuple[str, ...]
    disk: str
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    layers: int = 0
    init: str = "normal"

    @property
    def stacked_shape(self) -> tuple[int, ...]:
        return (self.layers, *self.shape) if self.layers else self.shape


def param_table(config: ThinkerConfig) -> tuple[ParamSpec, ...]:
    """Every parameter of the policy, in the order of the forward pass."""
    return (
        *_text(config),
        *(audio_table(config.audio) if config.audio else ()),
        *(vision_table(config.vision) if config.vision else ()),
        *_bridges(config),
    )


def linear_params(
    path: tuple[str, ...], disk: str, out_in: tuple[int, int], axes: tuple[str, str], layers: int = 0, bias: bool = True
) -> Iterator[ParamSpec]:
    yield ParamSpec((*path, "weight"), f"{disk}.weight", out_in, axes, layers)
    if bias:
        yield ParamSpec((*path, "bias"), f"{disk}.bias", out_in[:1], axes[:1], layers, "zeros")


def norm_params(
    path: tuple[str, ...], disk: str, size: int, layers: int = 0, bias: bool = False
) -> Iterator[ParamSpec]:
    yield ParamSpec((*path, "weight"), f"{disk}.weight", (size,), ("norm",), layers, "ones")
    if bias:
        yield ParamSpec((*path, "bias"), f"{disk}.bias", (size,), ("norm",), layers, "zeros")


def _text(config: ThinkerConfig) -> Iterator[ParamSpec]:
    c, n = config.text, config.text.num_hidden_layers
    hidden, heads, kv, bias = c.hidden_size, c.heads_dim, c.num_key_value_heads * c.head_dim, c.qkv_bias
    yield ParamSpec(
        ("text", "embed_tokens"), "model.embed_tokens.weight", (c.vocab_size, hidden), ("vocab", "embed"), init="embed"
    )
    at, disk = ("text", "layers"), "model.layers.{n}"
    yield from norm_params((*at, "input_norm"), f"{disk}.input_layernorm", hidden, n)
    yield from linear_params((*at, "q_proj"), f"{disk}.self_attn.q_proj", (heads, hidden), ("heads", "embed"), n, bias)
    yield from linear_params((*at, "k_proj"), f"{disk}.self_attn.k_proj", (kv, hidden), ("kv_heads", "embed"), n, bias)
    yield from linear_params((*at, "v_proj"), f"{disk}.self_attn.v_proj", (kv, hidden), ("kv_heads", "embed"), n, bias)
    if c.qk_norm:
        for name in ("q_norm", "k_norm"):
            yield from norm_params((*at, name), f"{disk}.self_attn.{name}", c.head_dim, n)
    yield from linear_params((*at, "o_proj"), f"{disk}.self_attn.o_proj", (hidden, heads), ("embed", "heads"), n, False)
    yield from norm_params((*at, "post_attention_norm"), f"{disk}.post_attention_layernorm", hidden, n)
    for name in ("gate_proj", "up_proj"):
        yield from linear_params(
            (*at, name), f"{disk}.mlp.{name}", (c.intermediate_size, hidden), ("mlp", "embed"), n, False
        )
    yield from linear_params(
        (*at, "down_proj"), f"{disk}.mlp.down_proj", (hidden, c.intermediate_size), ("embed", "mlp"), n, False
    )
    yield from norm_params(("text", "norm"), "model.norm", hidden)
    if not config.tie_word_embeddings:
        yield ParamSpec(("text", "lm_head"), "lm_head.weight", (c.vocab_size, hidden), ("vocab", "embed"))


def audio_table(c: AudioConfig) -> Iterator[ParamSpec]:
    """The parameters of an audio tower, with its projector."""
    n = c.encoder_layers
    d, ffn = c.d_model, c.encoder_ffn_dim
    for name, channels in (("conv1", c.num_mel_bins), ("conv2", d)):
        yield ParamSpec(
            ("audio", name, "weight"),
            f"audio_tower.{name}.weight",
            (d, channels, 3),
            ("audio_embed", "audio_in", "kernel"),
        )
        yield ParamSpec(("audio", name, "bias"), f"audio_tower.{name}.bias", (d,), ("audio_embed",), init="zeros")
    # never used by a forward pass; kept so that an export is complete
    yield ParamSpec(
        ("audio", "bos_eos"),
        "audio_tower.audio_bos_eos_token.weight",
        (2, c.output_dim),
        ("norm", "embed"),
        init="embed",
    )
    at, disk, square = ("audio", "layers"), "audio_tower.layers.{n}", ("audio_heads", "audio_embed")
    yield from norm_params((*at, "attention_norm"), f"{disk}.self_attn_layer_norm", d, n, bias=True)
    for name, bias in (("q_proj", True), ("k_proj", False), ("v_proj", True), ("out_proj", True)):
        axes = square if name != "out_proj" else square[::-1]
        yield from linear_params((*at, name), f"{disk}.self_attn.{name}", (d, d), axes, n, bias)
    yield from norm_params((*at, "mlp_norm"), f"{disk}.final_layer_norm", d, n, bias=True)
    yield from linear_params((*at, "fc1"), f"{disk}.fc1", (ffn, d), ("audio_mlp", "audio_embed"), n)
    yield from linear_params((*at, "fc2"), f"{disk}.fc2", (d, ffn), ("audio_embed", "audio_mlp"), n)
    yield from norm_params(("audio", "ln_post"), "audio_tower.ln_post", d, bias=True)
    yield from linear_params(("audio", "proj"), "audio_tower.proj", (c.output_dim, d), ("media", "audio_embed"))


def vision_table(c: VisionConfig | ClipConfig) -> Iterator[ParamSpec]:
    """The parameters of a vision tower, with its projector."""
    return _clip_vision(c) if isinstance(c, ClipConfig) else _omni_vision(c)


def _omni_vision(c: VisionConfig) -> Iterator[ParamSpec]:
    n = c.depth
    e, mlp, merged = c.hidden_size, c.intermediate_size, c.hidden_size * c.spatial_merge_size**2
    yield ParamSpec(
        ("vision", "patch_embed"),
        "visual.patch_embed.proj.weight",
        (e, c.in_channels, c.temporal_patch_size, c.patch_size, c.patch_size),
        ("vision_embed", "norm", "kernel", "kernel", "kernel"),
    )
    at, disk = ("vision", "layers"), "visual.blocks.{n}"
    yield from norm_params((*at, "norm1"), f"{disk}.norm1", e, n)
    for name in ("q", "k", "v", "proj"):
        axes = ("vision_heads", "vision_embed") if name != "proj" else ("vision_embed", "vision_heads")
        yield from linear_params((*at, name), f"{disk}.attn.{name}", (e, e), axes, n)
    yield from norm_params((*at, "norm2"), f"{disk}.norm2", e, n)
    for name in ("gate_proj", "up_proj"):
        yield from linear_params((*at, name), f"{disk}.mlp.{name}", (mlp, e), ("vision_mlp", "vision_embed"), n)
    yield from linear_params((*at, "down_proj"), f"{disk}.mlp.down_proj", (e, mlp), ("vision_embed", "vision_mlp"), n)
    yield from norm_params(("vision", "merger_norm"), "visual.merger.ln_q", e)
    yield from linear_params(
        ("vision", "merger_in"), "visual.merger.mlp.0", (merged, merged), ("vision_mlp", "vision_merged")
    )
    yield from linear_params(
        ("vision", "merger_out"), "visual.merger.mlp.2", (c.out_hidden_size, merged), ("embed", "vision_mlp")
    )


def _clip_vision(c: ClipConfig) -> Iterator[ParamSpec]:
    e, at, disk = c.hidden_size, ("vision",), "visual"
    names = f"{disk}.embeddings"
    yield ParamSpec((*at, "class_embedding"), f"{names}.class_embedding", (e,), ("norm",), init="embed")
    yield ParamSpec(
        (*at, "patch_embed"),
        f"{names}.patch_embedding.weight",
        (e, c.num_channels, c.patch_size, c.patch_size),
        ("vision_embed", "norm", "kernel", "kernel"),
    )
    yield ParamSpec(
        (*at, "position_embedding"),
        f"{names}.position_embedding.weight",
        (1 + c.patches, e),
        ("norm", "vision_embed"),
        init="embed",
    )
    yield from norm_params((*at, "pre_norm"), f"{disk}.pre_layrnorm", e, bias=True)  # spelt so
    sizes = (e, c.intermediate_size, c.num_hidden_layers)
    yield from layers_table((*at, "layers"), f"{disk}.encoder.layers.{{n}}", CLIP_LAYER, *sizes)
    yield from linear_params((*at, "proj"), f"{disk}.proj", (c.out_hidden_size, e), ("media", "vision_embed"))


def layers_table(
    at: tuple[str, ...], disk: str, names: Mapping[str, str], width: int, mlp: int, layers: int
) -> Iterator[ParamSpec]:
    """The parameters of a stack of encoder layers.

    Args:
      at: where the stack stands in the tree.
      disk: name of a layer on disk, with "{n}" for its number.
      names: what norm1, q_proj, k_proj, v_proj, out_proj, norm2, fc1 and fc2 are called there.
    """
    yield from norm_params((*at, "norm1"), f"{disk}.{names['norm1']}", width, layers, bias=True)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        axes = ("vision_heads", "vision_embed") if name != "out_proj" else ("vision_embed", "vision_heads")
        yield from linear_params((*at, name), f"{disk}.{names[name]}", (width, width), axes, layers)
    yield from norm_params((*at, "norm2"), f"{disk}.{names['norm2']}", width, layers, bias=True)
    yield from linear_params(
        (*at, "fc1"), f"{disk}.{names['fc1']}", (mlp, width), ("vision_mlp", "vision_embed"), layers
    )
    yield from linear_params(
        (*at, "fc2"), f"{disk}.{names['fc2']}", (width, mlp), ("vision_embed", "vision_mlp"), layers
    )


def _bridges(config: ThinkerConfig) -> Iterator[ParamSpec]:
    """The bridges of a policy, each in the tree of its tower."""
    for tower, bridge, disk in (
        ("audio", config.audio_bridge, "audio_tower.bridge"),
        ("vision", config.vision_bridge, "visual.bridge"),
    ):
        for spec in bridge_table(bridge) if bridge else ():
            yield replace(spec, path=(tower, *spec.path), disk=f"{disk}.{spec.disk}")


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


def nest(pairs: Iterable[tuple[tuple[str, ...], Any]]) -> dict:
    """A nested dict from (path, value) pairs."""
    tree: dict = {}
    for path, value in pairs:
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    return tree


def get(tree: dict, path: tuple[str, ...]) -> Any:
    """The value at `path` of a nested dict."""
    for key in path:
        tree = tree[key]
    return tree


def abstract_params(config: ThinkerConfig, dtype: DTypeLike = jnp.float32) -> dict:
    """The parameter tree as ShapeDtypeStructs: nothing is allocated."""
    return nest((s.path, jax.ShapeDtypeStruct(s.stacked_shape, dtype)) for s in param_table(config))


def num_params(config: ThinkerConfig) -> int:
    """How many parameters the policy has."""
    return sum(math.prod(s.stacked_shape) for s in param_table(config))


def init_params(config: ThinkerConfig, key: jax.Array, dtype: DTypeLike = jnp.float32) -> dict:
    """Random parameters, each tensor from a stream of its own under `key`, so adding one does not move the others.

    Drawn on the host: a device would compile a program for every shape.
    """
    return init_table(param_table(config), key, dtype)


def init_table(table: Sequence[ParamSpec], key: jax.Array, dtype: DTypeLike = jnp.float32) -> dict:
    """Random parameters of a table, as `init_params` draws those of a policy."""
    seed = np.asarray(jax.random.key_data(key)).tolist()
    return nest((s.path, _init(s, np.random.default_rng([*seed, i]), dtype)) for i, s in enumerate(table))


def _init(spec: ParamSpec, rng: np.random.Generator, dtype: DTypeLike) -> jax.Array:
    if spec.init in ("ones", "zeros"):
        return jnp.asarray(np.full(spec.stacked_shape, spec.init == "ones", dtype))
    std = 0.02 if spec.init == "embed" else math.prod(spec.shape[1:]) ** -0.5
    return jnp.asarray((rng.standard_normal(spec.stacked_shape, np.float32) * np.float32(std)).astype(dtype))
