"""MulT: every modality attends to the two others. Tsai et al. 2019, as MMSA computes it.

MMSA's copy has no positions, masks no padding, and reads the last step of each encoder, which in a clip padded at its
end is a padded one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import flax.linen as nn
import jax
import jax.numpy as jnp

from emsa_jax.features.crossmodal import CrossEncoder, Rates
from emsa_jax.features.layers import Linear, TimeConv, dropout, residual_head

NAMES = "lav"  # modalities as the public code abbreviates them: text, audio, vision


@dataclass(frozen=True)
class MulTOptions:
    """Sizes and dropout rates; those over three modalities are in the order text, audio, vision.

    Attributes:
      width, heads: of an encoder of one modality by another; those that follow are twice as wide, with as many heads.
      levels: layers of the former; the latter have at least three.
      kernels: of the convolutions in time.
      attention: dropout of attention weights, by the modality that is attended to; the text's also holds for the
        encoders that follow.
    """

    width: int = 50
    heads: int = 10
    levels: int = 2
    kernels: tuple[int, int, int] = (5, 1, 1)
    attention: tuple[float, float, float] = (0.2, 0.1, 0.0)
    relu: float = 0.0
    embed: float = 0.1
    residual: float = 0.2
    text: float = 0.3
    output: float = 0.1

    @property
    def rates(self) -> Rates:
        return Rates(self.attention[0], self.embed, self.relu, self.residual)


class MulT(nn.Module):
    """The network; `__call__` gives {"Feature_t", "Feature_a", "Feature_v": [B, 2 d], "Feature_f": [B, 6 d],
    "M": [B, 1]}."""

    options: MulTOptions

    @nn.compact
    def __call__(self, text: jax.Array, audio: jax.Array, vision: jax.Array, train: bool) -> dict[str, jax.Array]:
        """text [B, L, Dl], audio [B, Ta, Da], vision [B, Tv, Dv], float."""
        s = self.options
        inputs = dict(zip(NAMES, (dropout(self, text, s.text, train), audio, vision), strict=True))
        projected = {
            m: x if x.shape[-1] == s.width else TimeConv(s.width, kernel, name=f"proj_{m}")(x)
            for (m, x), kernel in zip(inputs.items(), s.kernels, strict=True)
        }
        attention = dict(zip(NAMES, s.attention, strict=True))

        def summary(query: str, *sources: str) -> jax.Array:
            parts = []
            for source in sources:
                rates = replace(s.rates, attention=attention[source])
                encoder = CrossEncoder(s.levels, s.heads, rates, name=f"trans_{query}_with_{source}")
                parts.append(encoder(projected[query], projected[source], train))
            memory = CrossEncoder(max(s.levels, 3), s.heads, s.rates, last=True, name=f"trans_{query}_mem")
            return memory(jnp.concatenate(parts, axis=-1), None, train)

        f_l, f_a, f_v = summary("l", "a", "v"), summary("a", "l", "v"), summary("v", "l", "a")
        fused = jnp.concatenate([f_l, f_a, f_v], axis=-1)
        hidden = residual_head(self, fused, ("proj1", "proj2"), s.output, train)
        return {
            "Feature_t": f_l,
            "Feature_a": f_a,
            "Feature_v": f_v,
            "Feature_f": fused,
            "M": Linear(1, name="out_layer")(hidden),
        }
