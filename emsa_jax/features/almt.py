"""ALMT: a hyper-modality that the text leads through audio and vision. Zhang et al. 2023, "Learning Language-guided
Adaptive Hyper-modality Representation for Multimodal Sentiment Analysis", as its public code computes it.

No padding is masked. Attention heads are 64 wide whatever the width is, and in a layer of the hyper-modality the
residual is the layer-normed hyper-modality.
"""

from __future__ import annotations

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from emsa_jax.features.layers import LayerNorm, Linear

HEAD_WIDTH = 64
NAMES = "lav"  # modalities as the public code abbreviates them: text, audio, vision


@dataclass(frozen=True)
class ALMTOptions:
    """Sizes; `heads` and `hidden` (of feed-forward layers) are of the projections, the text encoder and the fusion.

    Attributes:
      tokens: summary tokens of each modality.
      depth, hyper_depth, fusion_depth: layers of a projection, of the hyper-modality, of the fusion.
      hyper_heads, hyper_head_width: of attention in layers of the hyper-modality.
    """

    width: int = 128
    tokens: int = 8
    heads: tuple[int, int, int] = (8, 8, 8)
    hidden: tuple[int, int, int] = (128, 128, 128)
    depth: int = 1
    hyper_depth: int = 3
    fusion_depth: int = 4
    hyper_heads: int = 8
    hyper_head_width: int = 16


class ALMT(nn.Module):
    """The network; `__call__` gives {"M": [B, 1]}. It has no dropout; that of BERT is BERT's."""

    options: ALMTOptions

    @nn.compact
    def __call__(
        self,
        text: jax.Array,
        audio: jax.Array,
        vision: jax.Array,
        train: bool,  # noqa: ARG002 (which all networks take)
    ) -> dict[str, jax.Array]:
        """text [B, L, Dl], audio [B, Ta, Da], vision [B, Tv, Dv], float. Positions are learned for these lengths."""
        s = self.options
        heads, hidden = s.heads, s.hidden
        tokens = {
            m: Projection(s.width, s.tokens, s.depth, heads[0], hidden[0], name=f"proj_{m}")(x)
            for m, x in zip(NAMES, (text, audio, vision), strict=True)
        }
        leading = TextEncoder(s.hyper_depth - 1, heads[1], hidden[1], name="l_encoder")(tokens["l"])
        hyper = self.param("h_hyper", nn.initializers.ones, (1, s.tokens, s.width))
        hyper = jnp.broadcast_to(hyper, tokens["a"].shape)
        for i, text_i in enumerate(leading):
            layer = HyperAttention(s.hyper_heads, s.hyper_head_width, name=f"h_hyper_layer.layers.{i}.0")
            hyper = layer(text_i, tokens["a"], tokens["v"], hyper)
        fused = Fusion(s.fusion_depth, heads[2], hidden[2], name="fusion_layer")(hyper, leading[-1])
        return {"M": Linear(1, name="regression_layer.0")(fused)}


class Projection(nn.Module):
    """x [B, T, D] -> `tokens` learned tokens that have attended to it, [B, tokens, width]."""

    width: int
    tokens: int
    depth: int
    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Linear(self.width, name="0")(x)
        return Summary(self.tokens, self.depth, self.heads, self.hidden, name="1")(x)


class Summary(nn.Module):
    """Learned tokens before x, learned positions, self-attention; gives the tokens."""

    tokens: int
    depth: int
    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        batch, steps, width = x.shape
        tokens = self.param("extra_token", nn.initializers.zeros, (1, self.tokens, width))
        x = jnp.concatenate([jnp.broadcast_to(tokens, (batch, self.tokens, width)), x], axis=1)
        x = x + self.param("pos_embedding", nn.initializers.normal(1.0), (1, self.tokens + steps, width))
        return SelfLayers(self.depth, self.heads, self.hidden, name="encoder")(x)[-1][:, : self.tokens]


class TextEncoder(nn.Module):
    """x [B, tokens, d] -> [x with positions, after layer 1, after layer 2, ...]."""

    depth: int
    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        x = x + self.param("pos_embedding", nn.initializers.normal(1.0), (1, *x.shape[1:]))
        return SelfLayers(self.depth, self.heads, self.hidden, name="encoder")(x)


class SelfLayers(nn.Module):
    """Pre-norm self-attention and feed-forward layers; gives what goes in and what comes out of each."""

    depth: int
    heads: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> list[jax.Array]:
        states = [x]
        for i in range(self.depth):
            x = x + NormedAttention(self.heads, name=f"layers.{i}.0")(x, x)
            x = x + FeedForward(self.hidden, name=f"layers.{i}.1")(x)
            states.append(x)
        return states


class Fusion(nn.Module):
    """The text [B, n, d] attends to the hyper-modality [B, n, d]; gives one vector, [B, d]."""

    depth: int
    heads: int
    hidden: int

    @nn.compact
    def __call__(self, source: jax.Array, target: jax.Array) -> jax.Array:
        batch, steps, width = source.shape
        token = self.param("extra_token", nn.initializers.zeros, (1, 1, width))
        token = jnp.broadcast_to(token, (batch, 1, width))

        def positioned(x: jax.Array, name: str) -> jax.Array:
            positions = self.param(name, nn.initializers.normal(1.0), (1, steps + 1, width))
            return jnp.concatenate([token, x], axis=1) + positions

        source, target = positioned(source, "pos_embedding_s"), positioned(target, "pos_embedding_t")
        for i in range(self.depth):
            at = f"CrossTransformerEncoder.layers.{i}"
            target = target + NormedAttention(self.heads, name=f"{at}.0")(target, source)
            target = target + FeedForward(self.hidden, name=f"{at}.1")(target)
        return target[:, 0]


class NormedAttention(nn.Module):
    """Attention with a layer norm of each of queries, keys and values: query [B, Tq, d], source [B, Tk, d] ->
    [B, Tq, d]."""

    heads: int

    @nn.compact
    def __call__(self, query: jax.Array, source: jax.Array) -> jax.Array:
        inner = self.heads * HEAD_WIDTH
        inputs = {"q": query, "k": source, "v": source}
        q, k, v = (
            _split(Linear(inner, bias=False, name=f"fn.to_{n}")(LayerNorm(name=f"norm_{n}")(x)), self.heads)
            for n, x in inputs.items()
        )
        return Linear(query.shape[-1], name="fn.to_out.0")(_attend(q, k, v))


class HyperAttention(nn.Module):
    """The text asks audio and vision; what it finds is added to the hyper-modality. All [B, tokens, d]."""

    heads: int
    head_width: int

    @nn.compact
    def __call__(self, text: jax.Array, audio: jax.Array, vision: jax.Array, hyper: jax.Array) -> jax.Array:
        text, audio, vision, hyper = (
            LayerNorm(name=f"norm{i}")(x) for i, x in enumerate((text, audio, vision, hyper), 1)
        )

        def project(x: jax.Array, name: str) -> jax.Array:
            return _split(Linear(self.heads * self.head_width, bias=False, name=f"fn.to_{name}")(x), self.heads)

        q = project(text, "q")
        found = _attend(q, project(audio, "k_ta"), project(audio, "v_ta"))
        found += _attend(q, project(vision, "k_tv"), project(vision, "v_tv"))
        return hyper + Linear(hyper.shape[-1], name="fn.to_out.0")(found)


class FeedForward(nn.Module):
    """Layer norm, linear, exact GELU, linear."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inner = jax.nn.gelu(Linear(self.hidden, name="fn.net.0")(LayerNorm(name="norm")(x)), approximate=False)
        return Linear(x.shape[-1], name="fn.net.3")(inner)


def _split(x: jax.Array, heads: int) -> jax.Array:
    return x.reshape(*x.shape[:2], heads, -1)


def _attend(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """[B, T, heads, width] each -> [B, Tq, heads * width]."""
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * q.shape[-1] ** -0.5
    attended = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), v)
    return attended.reshape(*attended.shape[:2], -1)
