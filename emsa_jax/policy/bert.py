"""BERT (Devlin et al. 2019), an encoder of texts: sums of word, position and segment embeddings, then layers whose
norms follow the sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from emsa_jax.policy.encoder_layers import Dropout, LayerKind, dropped, encoder_layers
from emsa_jax.policy.layers import layer_norm
from emsa_jax.policy.thinker_config import BertConfig

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Key, Shaped


def encode_bert(
    params: dict,
    config: BertConfig,
    ids: Int[Array, "b s"],
    mask: Shaped[Array, "b s"],
    segments: Int[Array, "b s"] | None = None,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "b s d"]:
    """Texts -> states of their tokens.

    Args:
      params: of `bert_table`.
      ids: [B, S] int32, at most max_position_embeddings of them.
      mask: [B, S], valid tokens (not 0); nobody attends to the others, whose own states are computed all the same.
      segments: [B, S] int32, the text of a pair that a token belongs to (default: the first).
      key: of the dropout in training; None: nothing is dropped.

    Returns:
      [B, S, hidden_size].
    """
    return bert_layers(params, config, bert_embeddings(params, config, ids, segments, key), mask, key)


def bert_embeddings(
    params: dict,
    config: BertConfig,
    ids: Int[Array, "b s"],
    segments: Int[Array, "b s"] | None = None,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "b s d"]:
    """What the first layer reads, [B, S, hidden_size]. Arguments as in `encode_bert`."""
    segments = jnp.zeros_like(ids) if segments is None else segments
    x = params["word_embeddings"][ids]
    x = jnp.where((ids == config.pad_token_id)[..., None], jax.lax.stop_gradient(x), x)  # as the published classes do
    x = x + params["position_embeddings"][: ids.shape[1]]
    x = layer_norm(x + params["token_type_embeddings"][segments], params["embeddings_norm"], config.layer_norm_eps)
    return x if key is None else dropped(x, jax.random.fold_in(key, 0), config.hidden_dropout_prob)


def bert_layers(
    params: dict,
    config: BertConfig,
    x: Float[Array, "b s d"],
    mask: Shaped[Array, "b s"],
    key: Key[Array, ""] | None = None,
) -> Float[Array, "b s d"]:
    """States [B, S, hidden_size] after the last layer, of what the first one reads. Arguments as in `encode_bert`."""
    kind = LayerKind(config.num_attention_heads, config.layer_norm_eps, norm_first=False)
    dropout = None
    if key is not None:
        rates = (config.hidden_dropout_prob, config.attention_probs_dropout_prob)
        dropout = Dropout(jax.random.fold_in(key, 1), *rates)
    length = x.shape[1]
    to_valid = jnp.broadcast_to((jnp.asarray(mask) != 0)[:, None, :], (len(x), length, length))
    return encoder_layers(params["layers"], kind, x, to_valid, dropout=dropout)
