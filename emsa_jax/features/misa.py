"""MISA: each modality in a space of its own and in a shared one. Hazarika et al. 2020, "MISA: Modality-Invariant and
-Specific Representations for Multimodal Sentiment Analysis", as MMSA computes it.

Its losses are means over the batch of what differs from the batch's mean; rows that only fill up a batch take a
weight of 0 in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from emsa_jax.features.crossmodal import SelfAttention
from emsa_jax.features.layers import LayerNorm, Linear, dropout, fan_in_uniform

ORDER = "tva"  # text, vision, audio, as the public code stacks and abbreviates them
MOMENTS = 5  # central moments that CMD compares
FUSION_HIDDEN, FUSION_RATE, FUSION_HEADS = 2048, 0.1, 2  # PyTorch's defaults, which no setting of MISA changes


@dataclass(frozen=True)
class MISAOptions:
    """`hidden`: width of the spaces; `rate`: dropout before the last layer; `diff`, `sim`, `recon`: weights of the
    parts of the loss beside the task's."""

    hidden: int = 128
    rate: float = 0.0
    diff: float = 0.3
    sim: float = 1.0
    recon: float = 0.8


class MISA(nn.Module):
    """The network; `__call__` gives {"M": [B, 1]} and, for each of t, v, a, "utt_t_orig", "utt_private_t",
    "utt_shared_t", "utt_t_recon": [B, hidden]."""

    options: MISAOptions

    @nn.compact
    def __call__(
        self, text: jax.Array, mask: jax.Array, audio: jax.Array, vision: jax.Array, train: bool
    ) -> dict[str, jax.Array]:
        """text [B, L, Dl] float, mask [B, L] of its real steps, audio [B, Ta, Da], vision [B, Tv, Dv] float.

        Audio and vision are read as far as the text is long, and no further than they themselves are.
        """
        h = self.options.hidden
        mask = mask.astype(text.dtype)
        length = mask.sum(1)
        utterance = {
            "t": (text * mask[..., None]).sum(1) / length[:, None],
            "v": self._read("v", vision[:, : mask.shape[1]], length),
            "a": self._read("a", audio[:, : mask.shape[1]], length),
        }
        shared = Linear(h, name="shared.shared_1")
        outputs = {}
        for m in ORDER:
            u = Linear(h, name=f"project_{m}.project_{m}")(utterance[m])
            u = LayerNorm(name=f"project_{m}.project_{m}_layer_norm")(jax.nn.relu(u))
            private = Linear(h, name=f"private_{m}.private_{m}_{3 if m == 'a' else 1}")(u)
            p, s = jax.nn.sigmoid(private), jax.nn.sigmoid(shared(u))
            r = Linear(h, name=f"recon_{m}.recon_{m}_1")(p + s)
            outputs |= {f"utt_{m}_orig": u, f"utt_private_{m}": p, f"utt_shared_{m}": s, f"utt_{m}_recon": r}
        tokens = jnp.stack([outputs[f"utt_{kind}_{m}"] for kind in ("private", "shared") for m in ORDER], axis=1)
        fused = FusionLayer(name="transformer_encoder.layers.0")(tokens, train).reshape(len(text), -1)
        inner = dropout(self, Linear(3 * h, name="fusion.fusion_layer_1")(fused), self.options.rate, train)
        return outputs | {"M": Linear(1, name="fusion.fusion_layer_3")(jax.nn.relu(inner))}

    def _read(self, m: str, x: jax.Array, length: jax.Array) -> jax.Array:
        """x [B, T, D] -> [B, 4 D], the final states of two stacked LSTMs in both directions."""
        first, forward1, backward1 = BiLSTM(name=f"{m}rnn1")(x, length)
        first = LayerNorm(name=f"{m}layer_norm")(first)
        _, forward2, backward2 = BiLSTM(x.shape[-1], name=f"{m}rnn2")(first, length)
        return jnp.concatenate([forward1, forward2, backward1, backward2], axis=-1)


class BiLSTM(nn.Module):
    """An LSTM in both directions over the first `length` steps: x [B, T, D] -> ([B, T, 2 size], final states forward
    and backward [B, size]). `size` 0: as wide as the input. Steps beyond the length leave the state as it is."""

    size: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        inside = jnp.arange(x.shape[1])[:, None] < length  # [T, B]
        forward, last = self._run(x, inside, "")
        backward, first = self._run(x, inside, "_reverse")
        return jnp.concatenate([forward, backward], axis=-1), last, first

    def _run(self, x: jax.Array, inside: jax.Array, direction: str) -> tuple[jax.Array, jax.Array]:
        size = self.size or x.shape[-1]
        init = fan_in_uniform(size)
        weight_ih, weight_hh = (
            self.param(f"weight_{kind}_l0{direction}", init, (4 * size, width))
            for kind, width in (("ih", x.shape[-1]), ("hh", size))
        )
        bias = sum(self.param(f"bias_{kind}_l0{direction}", init, (4 * size,)) for kind in ("ih", "hh"))

        def step(
            state: tuple[jax.Array, jax.Array], now: tuple[jax.Array, jax.Array]
        ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            h, c = state
            gates, here = now
            i, f, g, o = jnp.split(gates + h @ weight_hh.T, 4, axis=-1)  # in PyTorch's order
            new_c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            new_h = jax.nn.sigmoid(o) * jnp.tanh(new_c)
            h, c = (jnp.where(here[:, None], new, old) for new, old in ((new_h, h), (new_c, c)))
            return (h, c), h

        zero = jnp.zeros((len(x), size), x.dtype)
        given = (x @ weight_ih.T + bias).swapaxes(0, 1)
        (final, _), states = jax.lax.scan(step, (zero, zero), (given, inside), reverse=bool(direction))
        return states.swapaxes(0, 1), final


class FusionLayer(nn.Module):
    """One layer of PyTorch's transformer encoder, post-norm: x [B, n, d] -> [B, n, d]."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        attended = SelfAttention(FUSION_HEADS, FUSION_RATE, name="self_attn")(x, x, None, train)
        x = LayerNorm(name="norm1")(x + dropout(self, attended, FUSION_RATE, train))
        inner = dropout(self, jax.nn.relu(Linear(FUSION_HIDDEN, name="linear1")(x)), FUSION_RATE, train)
        outer = Linear(x.shape[-1], name="linear2")(inner)
        return LayerNorm(name="norm2")(x + dropout(self, outer, FUSION_RATE, train))


def unused_tensors(options: MISAOptions, text_width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what the public code holds and no output of it needs."""
    name = "sp_discriminator.sp_discriminator_layer_1"
    tensors = {f"{name}.weight": (4, options.hidden), f"{name}.bias": (4,)}
    return tensors | {f"tlayer_norm.{kind}": (2 * text_width,) for kind in ("weight", "bias")}


def misa_loss(
    outputs: dict[str, jax.Array], labels: jax.Array, weight: jax.Array, options: MISAOptions
) -> dict[str, jax.Array]:
    """The loss and its parts, scalars: "cls" (MSE), "diff", "cmd", "recon", their addends, and "total".

    Args:
      outputs: of `MISA`.
      labels: [B, 1].
      weight: [B], 1 for clips and 0 for rows that fill up the batch.
    """
    private, shared = ({m: outputs[f"utt_{kind}_{m}"] for m in ORDER} for kind in ("private", "shared"))
    parts = {f"diff_private_{m}__shared_{m}": _overlap(private[m], shared[m], weight) for m in ORDER} | {
        f"diff_private_{m}__private_{n}": _overlap(private[m], private[n], weight) for m, n in ("at", "av", "tv")
    }
    moments = {f"cmd_{m}{n}": _moment_distance(shared[m], shared[n], weight) for m, n in ("tv", "ta", "av")}
    recon = [_mean((outputs[f"utt_{m}_recon"] - outputs[f"utt_{m}_orig"]) ** 2, weight).mean() for m in ORDER]
    cls = _mean((outputs["M"] - labels) ** 2, weight).mean()
    diff, cmd, recon = sum(parts.values()), sum(moments.values()) / 3, sum(recon) / 3
    total = cls + options.diff * diff + options.sim * cmd + options.recon * recon
    return parts | moments | {"cls": cls, "diff": diff, "cmd": cmd, "recon": recon, "total": total}


def _mean(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Over the batch: [B, D] -> [D]."""
    return weight @ x / jnp.maximum(weight.sum(), 1)


def _overlap(a: jax.Array, b: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean square of the products of the features of two centred, row-normalised matrices (paper, formula 8)."""

    def rows(x: jax.Array) -> jax.Array:
        x = (x - _mean(x, weight)) * weight[:, None]
        return x / (jnp.sqrt((jax.lax.stop_gradient(x) ** 2).sum(-1, keepdims=True)) + 1e-6)

    return ((rows(a).T @ rows(b)) ** 2).mean()


def _moment_distance(a: jax.Array, b: jax.Array, weight: jax.Array) -> jax.Array:
    """Distance of means and of central moments 2 to 5 (CMD: Zellinger et al. 2017).

    Where moments are equal, as those of a batch of one clip are, its gradient is 0; PyTorch's is NaN.
    """
    mean_a, mean_b = _mean(a, weight), _mean(b, weight)
    gaps = [mean_a - mean_b]
    gaps += [_mean((a - mean_a) ** k, weight) - _mean((b - mean_b) ** k, weight) for k in range(2, MOMENTS + 1)]
    return sum(safe_norm(gap) for gap in gaps)


def safe_norm(x: jax.Array) -> jax.Array:
    """Euclidean norm over the last axis, whose gradient at 0 is 0 and not NaN."""
    square = (x**2).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
