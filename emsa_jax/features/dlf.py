"""DLF: what each modality has of its own and what all share are separated, and the text leads. Wang et al. 2025, "DLF:
Disentangled-Language-Focused Multimodal Sentiment Analysis", as its public code computes it.

Left out are the parts that the public code builds and never trains (see `unused_tensors`); an export has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp

from emsa_jax.features.crossmodal import CrossEncoder, Rates
from emsa_jax.features.layers import Linear, TimeConv, dropout, residual_head

ORDER = "lva"  # text, vision, audio, as the public code joins and abbreviates them
MARGIN = 0.15  # of the triplets, for each unit of the distance between labels
COSINE_EPSILON, TRIPLET_EPSILON = 1e-12, 1e-8


@dataclass(frozen=True)
class DLFOptions:
    """Sizes and dropout rates; those over three modalities are in the order text, audio, vision.

    Attributes:
      width, heads, levels: of every encoder; that of the led modalities after them has at least three layers.
      attention: dropout of attention weights, by the modality that is attended to.
      orthogonal: length of the vectors that have to be orthogonal; 0: the width. The public code cuts up the
        features into pieces of 10 for MOSEI.
    """

    width: int = 50
    heads: int = 10
    levels: int = 2
    kernels: tuple[int, int, int] = (5, 5, 5)
    attention: tuple[float, float, float] = (0.3, 0.2, 0.0)
    relu: float = 0.0
    embed: float = 0.2
    residual: float = 0.0
    text: float = 0.5
    output: float = 0.5
    orthogonal: int = 0


class DLF(nn.Module):
    """The network; `__call__` gives {"output_logit", "logits_c", "logits_{l,v,a}_hetero": [B, 1], "c_{m}_sim": [B, d],
    "origin_{m}", "s_{m}", "c_{m}", "recon_{m}", "s_{m}_r": [B, T, d]}, m of l, v, a."""

    options: DLFOptions

    @nn.compact
    def __call__(self, text: jax.Array, audio: jax.Array, vision: jax.Array, train: bool) -> dict[str, jax.Array]:
        """text [B, T, Dl], audio [B, T, Da], vision [B, T, Dv], float. Linear maps are learned for this T."""
        s = self.options
        inputs = dict(l=dropout(self, text, s.text, train), a=audio, v=vision)
        inputs = {
            m: x if x.shape[-1] == s.width else TimeConv(s.width, kernel, name=f"proj_{m}")(x)
            for (m, x), kernel in zip(inputs.items(), s.kernels, strict=True)
        }
        common = self._encoder("l", "encoder_c")
        parts, shared, logits = {}, [], {}
        specific = {}
        for m in ORDER:
            encode = self._encoder(m, f"encoder_s_{m}")
            specific[m], c = encode(inputs[m], None, train), common(inputs[m], None, train)
            recon = TimeConv(s.width, name=f"decoder_{m}")(jnp.concatenate([specific[m], c], axis=-1))
            again = encode(recon, None, train)
            parts |= {f"origin_{m}": inputs[m], f"s_{m}": specific[m], f"c_{m}": c, f"recon_{m}": recon}
            channels_first = c.swapaxes(1, 2).reshape(len(c), -1)
            parts |= {f"s_{m}_r": again, f"c_{m}_sim": Linear(s.width, name=f"align_c_{m}")(channels_first)}
            shared.append(self._encoder(m, f"self_attentions_c_{m}", last=True)(c, None, train))
        shared = jnp.concatenate(shared, axis=-1)
        of_shared = residual_head(self, shared, ("proj1_c", "proj2_c"), s.output, train)
        logits["logits_c"] = Linear(1, name="out_layer_c")(of_shared)
        fused = []
        for m in ORDER:
            led = self._led(m, specific, train)
            led = residual_head(self, led, (f"proj1_{m}_high", f"proj2_{m}_high"), s.output, train)
            logits[f"logits_{m}_hetero"] = Linear(1, name=f"out_layer_{m}_high")(led)
            fused.append(Linear(s.width, name=f"projector_{m}")(led))
        fused.append(Linear(3 * s.width, name="projector_c")(shared))
        fused = jax.nn.sigmoid(jnp.concatenate(fused, axis=-1))
        fused = residual_head(self, fused, ("proj1", "proj2"), s.output, train)
        return parts | logits | {"output_logit": Linear(1, name="out_layer")(fused)}

    def _led(self, m: str, specific: dict[str, jax.Array], train: bool) -> jax.Array:
        """The text's own part, or what it finds in that of m, read by one more encoder: [B, d]."""
        text = specific["l"]
        if m == "l":
            return self._encoder("l", "trans_l_mem", last=True)(text, None, train)
        found = self._encoder(m, f"trans_l_with_{m}")(text, specific[m], train)
        return self._encoder("l", f"trans_{m}_mem", last=True, least=3)(found, None, train)

    def _encoder(self, attended: str, name: str, last: bool = False, least: int = 1) -> CrossEncoder:
        s = self.options
        rates = Rates(s.attention["lav".index(attended)], s.embed, s.relu, s.residual)
        return CrossEncoder(max(s.levels, least), s.heads, rates, positions=True, last=last, name=name)


def unused_tensors(options: DLFOptions, steps: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what the public code holds and no output of it needs. steps: frames of each modality after
    the convolution."""
    d = options.width
    shapes = {}
    for m in ORDER:
        flat = d * steps[m]
        shapes |= {f"proj_cosine_{m}": (d, flat), f"proj1_{m}_low": (d, flat), f"proj2_{m}_low": (flat, d)}
        shapes[f"out_layer_{m}_low"] = (1, flat)
    tensors = {}
    for name, shape in shapes.items():
        tensors |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in ("trans_a_with_l", "trans_a_with_v", "trans_v_with_l", "trans_v_with_a"):
        for i in range(options.levels):
            at = f"{name}.layers.{i}"
            for linear, rows, columns in (("fc1", 4 * d, d), ("fc2", d, 4 * d), ("self_attn.out_proj", d, d)):
                tensors |= {f"{at}.{linear}.weight": (rows, columns), f"{at}.{linear}.bias": (rows,)}
            tensors |= {f"{at}.self_attn.in_proj_weight": (3 * d, d), f"{at}.self_attn.in_proj_bias": (3 * d,)}
            tensors |= {f"{at}.layer_norms.{n}.{kind}": (d,) for n in (0, 1) for kind in ("weight", "bias")}
        tensors |= {f"{name}.layer_norm.{kind}": (d,) for kind in ("weight", "bias")}
    return tensors


def dlf_loss(
    outputs: dict[str, jax.Array], labels: jax.Array, weight: jax.Array, options: DLFOptions
) -> dict[str, jax.Array]:
    """The loss and its parts, scalars: "task" (L1), "recon", "specific", "ort", "margin", their addends, and "total".

    Args:
      outputs: of `DLF`.
      labels: [B, 1].
      weight: [B], 1 for clips and 0 for rows that fill up the batch.
    """
    heads = {"final": "output_logit", "c": "logits_c"} | {m: f"logits_{m}_hetero" for m in ORDER}
    parts = {f"task_{name}": _mean(jnp.abs(outputs[key] - labels), weight) for name, key in heads.items()}
    length = options.orthogonal or options.width
    for m in ORDER:
        s, c = outputs[f"s_{m}"], outputs[f"c_{m}"]
        parts[f"recon_{m}"] = _mean((outputs[f"recon_{m}"] - outputs[f"origin_{m}"]) ** 2, weight)
        parts[f"specific_{m}"] = _mean((s - outputs[f"s_{m}_r"]) ** 2, weight)
        parts[f"ort_{m}"] = _mean(jax.nn.relu(_cosines(*_rows(s, c, length))), weight)
    sums = {kind: sum(parts[f"{kind}_{m}"] for m in ORDER) for kind in ("recon", "specific", "ort")}
    sums["task"] = sum(parts[f"task_{name}"] for name in heads) + 2 * parts["task_l"]
    sums["margin"] = triplet_loss(jnp.stack([outputs[f"c_{m}_sim"] for m in ORDER], axis=1), labels[:, 0], weight)
    rest = sums["specific"] + sums["recon"] + 0.1 * (sums["margin"] + sums["ort"])
    return parts | sums | {"total": sums["task"] + 0.1 * rest}


def triplet_loss(vectors: jax.Array, labels: jax.Array, weight: jax.Array) -> jax.Array:
    """Vectors of equal labels have to be nearer than others are, by a margin that grows with the labels' distance.

    Args:
      vectors: [B, 3, d], of the modalities of each clip.
      labels, weight: [B]; labels count as equal where their floats are.

    Returns:
      Scalar: over anchors that have both other vectors of their label and vectors of other labels, the mean over pairs
      of one of each; 0 without such an anchor.
    """
    x = vectors.reshape(-1, vectors.shape[-1])
    labels, weight = (jnp.repeat(a, vectors.shape[1]) for a in (labels, weight))
    unit = x / jnp.sqrt((x**2).sum(-1, keepdims=True) + TRIPLET_EPSILON)
    cosine = unit @ unit.T
    pair = (weight[:, None] * weight[None, :]) * (1 - jnp.eye(len(x), dtype=x.dtype))
    equal = labels[:, None] == labels[None, :]
    positive, negative = pair * equal, pair * ~equal
    gap = MARGIN * jnp.abs(labels[:, None] - labels[None, :])
    hinge = jax.nn.relu(gap[:, None, :] - cosine[:, :, None] + cosine[:, None, :])
    pairs = positive.sum(1) * negative.sum(1)
    loss = jnp.einsum("ap,an,apn->a", positive, negative, hinge) / jnp.maximum(pairs, 1)
    return loss.sum() / jnp.maximum((pairs > 0).sum(), 1)


def _mean(x: jax.Array, weight: jax.Array) -> jax.Array:
    """Of [B, ...] over the rows that count."""
    return (x.reshape(len(x), -1).mean(1) * weight).sum() / jnp.maximum(weight.sum(), 1)


def _rows(s: jax.Array, c: jax.Array, length: int) -> tuple[jax.Array, jax.Array]:
    """[B, T, d] each, cut up into vectors of `length`, [B, T d / length, length]."""
    return s.reshape(len(s), -1, length), c.reshape(len(c), -1, length)


def _cosines(x: jax.Array, y: jax.Array) -> jax.Array:
    squares = ((x**2).sum(-1) + COSINE_EPSILON) * ((y**2).sum(-1) + COSINE_EPSILON)
    return (x * y).sum(-1) / jnp.sqrt(squares)
