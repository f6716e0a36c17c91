"""The parameters of encoders that stand beside a policy: of captions and cues (CLIP's text half, BERT)."""

from __future__ import annotations

from collections.abc import Iterator

from emsa_jax.policy.parameter_table import CLIP_LAYER, ParamSpec, layers_table, linear_params, norm_params
from emsa_jax.policy.thinker_config import BertConfig, ClipTextConfig

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


def dense_table(out: int, width: int, bias: bool) -> Iterator[ParamSpec]:
    """The parameters of the linear that some sentence encoders have behind BERT, as sentence-transformers names it."""
    yield from linear_params(("dense",), "linear", (out, width), ("media", "vision_embed"), bias=bias)


def _embedding(path: tuple[str, ...], disk: str, rows: int, width: int) -> ParamSpec:
    return ParamSpec(path, f"{disk}.weight", (rows, width), ("norm", "vision_embed"), init="embed")
