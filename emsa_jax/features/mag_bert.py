"""MAG-BERT: audio and vision shift BERT's word embeddings. Rahman et al. 2020, "Integrating Multimodal Information in
Large Pretrained Transformers", as MMSA computes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from emsa_jax.features.layers import LayerNorm, Linear, bert_normal, dropout
from emsa_jax.features.misa import safe_norm

HEAD_RATE = 0.1  # dropout before the classifier, BERT's own; no setting of MAG-BERT changes it


@dataclass(frozen=True)
class MAGOptions:
    """`beta`: how far words may be shifted, as a share of their length; `rate`: dropout after the shift."""

    beta: float = 1.0
    rate: float = 0.1


class MAGBert(nn.Module):
    """MAG-BERT but for what it has of BERT, whose pooler it holds; `__call__` gives {"M": [B, 1]}."""

    options: MAGOptions

    @nn.compact
    def __call__(
        self, text: jax.Array, audio: jax.Array, vision: jax.Array, encode: Callable, train: bool
    ) -> dict[str, jax.Array]:
        """text: BERT's embeddings [B, L, d], normed; audio [B, L, Da], vision [B, L, Dv], a frame for each token.

        encode: BERT's layers, embeddings [B, L, d] -> states [B, L, d].
        """
        shifted = Shift(self.options, name="model.bert.MAG")(text, audio, vision, train)
        first = Linear(text.shape[-1], initial=bert_normal, name="model.bert.pooler.dense")(encode(shifted)[:, 0])
        pooled = dropout(self, jnp.tanh(first), HEAD_RATE, train)
        return {"M": Linear(1, initial=bert_normal, name="model.classifier")(pooled)}


class Shift(nn.Module):
    """The gate of MAG: text [B, L, d], audio [B, L, Da], vision [B, L, Dv] -> [B, L, d]."""

    options: MAGOptions

    @nn.compact
    def __call__(self, text: jax.Array, audio: jax.Array, vision: jax.Array, train: bool) -> jax.Array:
        width = text.shape[-1]
        shift = 0
        for m, x in (("v", vision), ("a", audio)):
            gate = jax.nn.relu(Linear(width, initial=bert_normal, name=f"W_h{m}")(jnp.concatenate([x, text], axis=-1)))
            shift += gate * Linear(width, initial=bert_normal, name=f"W_{m}")(x)
        norm = safe_norm(shift)  # 0 at padded frames while the biases are 0; PyTorch's norm has no gradient there
        norm = jnp.where(norm == 0, 1, norm)
        alpha = jnp.minimum(self.options.beta * safe_norm(text) / (norm + 1e-6), 1)
        moved = LayerNorm(name="LayerNorm")(alpha[..., None] * shift + text)
        return dropout(self, moved, self.options.rate, train)


def align_as_mmsa(x: jax.Array, steps: int) -> jax.Array:
    """Frames of x [B, T, D] as many as text tokens, as MMSA makes them: frame t is the mean of every `steps`-th frame
    from t on, hence over the whole clip. Copies of the last frame fill up the last block."""
    blocks = -(-x.shape[1] // steps)
    fill = jnp.repeat(x[:, -1:], blocks * steps - x.shape[1], axis=1)
    return jnp.concatenate([x, fill], axis=1).reshape(len(x), blocks, steps, -1).mean(1)


def align_contiguous(x: jax.Array, steps: int) -> jax.Array:
    """Frames of x [B, T, D] as many as text tokens: frame t is the mean of the frames from t T / steps to
    (t + 1) T / steps, at least one."""
    frames = x.shape[1]
    begin = (jnp.arange(steps) * frames) // steps
    end = jnp.maximum(begin + 1, (jnp.arange(1, steps + 1) * frames) // steps)
    at = jnp.arange(frames)
    weight = ((at >= begin[:, None]) & (at < end[:, None])).astype(x.dtype)
    return jnp.einsum("st,btd->bsd", weight / weight.sum(1, keepdims=True), x)
