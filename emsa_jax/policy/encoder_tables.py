"""The parameters of encoders that stand beside a policy: of captions and cues (CLIP's text half, BERT), and of
speech (HuBERT)."""

from __future__ import annotations

from collections.abc import Iterator

from emsa_jax.policy.parameter_table import (
    CLIP_LAYER,
    HUBERT_LAYER,
    ParamSpec,
    layers_table,
    linear_params,
    norm_params,
)
from emsa_jax.policy.thinker_config import BertConfig, ClipTextConfig, HubertConfig

BERT_LAYER = dict(
    q_proj="attention.self.query",
    k_proj="attention.self.key",
    v_proj="attention.self.value",
    out_proj="attention.output.dense",
    norm1="attention.output.LayerNorm",
    fc1="intermediate.dense",
    fc2="output.dense",
    norm2="output.LayerNorm",
)


def clip_text_table(c: ClipTextConfig) -> Iterator[ParamSpec]:
    """The parameters of CLIP's text encoder, under the names of `CLIPModel`."""
    d, at, disk = c.hidden_size, ("clip_text",), "text_model"
    for name, rows in (("token_embedding", c.vocab_size), ("position_embedding", c.max_position_embeddings)):
        yield _embedding((*at, name), f"{disk}.embeddings.{name}", rows, d)
    sizes = (d, c.intermediate_size, c.num_hidden_layers)
    yield from layers_table((*at, "layers"), f"{disk}.encoder.layers.{{n}}", CLIP_LAYER, *sizes)
    yield from norm_params((*at, "final_norm"), f"{disk}.final_layer_norm", d, bias=True)
    yield ParamSpec((*at, "projection"), "text_projection.weight", (c.projection_dim, d), ("media", "vision_embed"))


def bert_table(c: BertConfig) -> Iterator[ParamSpec]:
    """The parameters of BERT without its pooler, under the names of `BertModel`."""
    d, at = c.hidden_size, ("bert",)
    rows = dict(
        word_embeddings=c.vocab_size,
        position_embeddings=c.max_position_embeddings,
        token_type_embeddings=c.type_vocab_size,
    )
    for name, count in rows.items():
        yield _embedding((*at, name), f"embeddings.{name}", count, d)
    yield from norm_params((*at, "embeddings_norm"), "embeddings.LayerNorm", d, bias=True)
    sizes = (d, c.intermediate_size, c.num_hidden_layers)
    yield from layers_table((*at, "layers"), "encoder.layer.{n}", BERT_LAYER, *sizes)


def hubert_table(c: HubertConfig) -> Iterator[ParamSpec]:
    """The parameters of HuBERT, under the names of `HubertModel`."""
    d, at, channels = c.hidden_size, ("hubert",), 1
    for i, (width, kernel) in enumerate(zip(c.conv_dim, c.conv_kernel, strict=True)):
        here, disk = (*at, "conv_layers", str(i)), f"feature_extractor.conv_layers.{i}"
        shape = (width, channels, kernel)
        yield ParamSpec((*here, "conv", "weight"), f"{disk}.conv.weight", shape, ("audio_embed", "audio_in", "kernel"))
        if c.conv_bias:
            yield ParamSpec((*here, "conv", "bias"), f"{disk}.conv.bias", (width,), ("audio_embed",), init="zeros")
        if c.feat_extract_norm == "layer" or not i:
            yield from norm_params((*here, "norm"), f"{disk}.layer_norm", width, bias=True)
        channels = width
    yield from norm_params((*at, "feature_norm"), "feature_projection.layer_norm", channels, bias=True)
    yield from linear_params(
        (*at, "feature_projection"), "feature_projection.projection", (d, channels), ("audio_embed", "audio_in")
    )
    disk, kernel = "encoder.pos_conv_embed.conv", c.num_conv_pos_embeddings
    groups = d // c.num_conv_pos_embedding_groups
    axes = ("audio_embed", "audio_in", "kernel")
    for name, number, shape in (("g", 0, (1, 1, kernel)), ("v", 1, (d, groups, kernel))):
        places = axes if name == "v" else ("norm", "norm", "kernel")
        names = f"{disk}.parametrizations.weight.original{number}"
        yield ParamSpec((*at, "pos_conv", name), names, shape, places, init="normal" if name == "v" else "ones")
    yield ParamSpec((*at, "pos_conv", "bias"), f"{disk}.bias", (d,), ("audio_embed",), init="zeros")
    yield from norm_params((*at, "norm"), "encoder.layer_norm", d, bias=True)
    sizes = (d, c.intermediate_size, c.num_hidden_layers)
    yield from layers_table((*at, "layers"), "encoder.layers.{n}", HUBERT_LAYER, *sizes)


def dense_table(out: int, width: int, bias: bool) -> Iterator[ParamSpec]:
    """The parameters of the linear that some sentence encoders have behind BERT, as sentence-transformers names it."""
    yield from linear_params(("dense",), "linear", (out, width), ("media", "vision_embed"), bias=bias)


def _embedding(path: tuple[str, ...], disk: str, rows: int, width: int) -> ParamSpec:
    return ParamSpec(path, f"{disk}.weight", (rows, width), ("norm", "vision_embed"), init="embed")
