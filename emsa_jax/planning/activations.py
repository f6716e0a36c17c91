"""What prompts, caches and activations take of each device, by arithmetic fitted to what compilers say."""

from __future__ import annotations

from dataclasses import dataclass

from emsa_jax.parallel.rules import using
from emsa_jax.policy import decoder
from emsa_jax.policy.attention import BLOCK, BLOCKS, choose_kernel
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.parameter_table import abstract_params
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.runtime.placement import ELEMENT_BYTES, Placement, bytes_per_device

# how many of a layer's arrays are alive at once, as wide as its MLP and as its states; and in the backward pass.
# Fitted to what XLA's compilers for TPUs and GPUs say (docs/scaling.md)
_WIDE, _NARROW = 2, 6
_WIDE_BACK, _NARROW_BACK, _LOGITS_BACK = 4, 16, 2


@dataclass(frozen=True)
class Activations:
    """Bytes of one device. rows: prompts of one part of a batch, each of `prompt` tokens; slots: tokens of an answer,
    reserved or real."""

    policy: ThinkerConfig
    placement: Placement
    dtype: str

    @property
    def width(self) -> int:
        """Bytes of an element."""
        return ELEMENT_BYTES[self.dtype]

    @property
    def cut(self) -> int:
        """Devices that share heads, MLP and vocabulary."""
        return self.placement.update.mesh.shape["tensor"]

    def inputs(self, shape: InputShape) -> int:
        """Pixels; sound and tokens are little beside them."""
        return 4 * shape.patch_rows * shape.patch_row * self.policy.vision.patch_dim

    def prompts(self, rows: int, prompt: int) -> int:
        """Encoded prompts."""
        return rows * prompt * self.policy.text.hidden_size * self.width

    def cache(self, rows: int, slots: int) -> int:
        """Keys and values of all layers."""
        c = self.policy.text
        heads = self.cut if c.num_key_value_heads % self.cut == 0 else 1
        return rows * slots * 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * self.width // heads

    def encode(self, rows: int, shape: InputShape) -> dict[str, int]:
        """A layer of the vision tower over all rows of patches; the audio tower, which comes before, needs less."""
        c, patches = self.policy.vision, shape.patch_rows * shape.patch_row
        heads = c.num_heads // self.cut if c.num_heads % self.cut == 0 else c.num_heads
        logits = 4 * patches * shape.patch_row * heads
        work = patches * self.width * (_NARROW * c.hidden_size + _WIDE * c.intermediate_size // self.cut)
        return {"prompts": self.prompts(rows, shape.prompt), "activations": logits + work}

    def prefill(self, rows: int, prompt: int) -> dict[str, int]:
        """Prompts through the decoder."""
        c = self.policy.text
        block = max(BLOCK, -(-prompt // BLOCKS))  # of queries: plain attention's logits are never there all at once
        pairs = 0 if self._fused(prompt) else rows * min(block, prompt) * prompt
        logits = 4 * pairs * c.num_attention_heads // self.cut
        work = rows * prompt * self.width * (_NARROW * c.hidden_size + _WIDE * c.intermediate_size // self.cut)
        return {
            "prompts": self.prompts(rows, prompt),
            "prompt cache": self.cache(rows, prompt),
            "activations": logits + work,
        }

    def decode(self, rows: int, prompt: int, answers: int, slots: int, adapter: int) -> dict[str, int]:
        """`answers` to each prompt. adapter: its bytes in float32."""
        caches = self.cache(rows, prompt)
        found = {
            "prompts": self.prompts(rows, prompt),
            "prompt cache": caches,
            "answer cache": self.cache(rows * answers, slots) * 3 // 2,
            "logits": 4 * 4 * rows * answers * self.policy.text.vocab_size // self.cut,
        }
        with using(self.placement.decode.mesh, self.placement.decode.rules):
            apart = decoder.apart()
        if apart:
            layers = abstract_params(self.policy, self.dtype)["text"]["layers"]
            copied = bytes_per_device(layers, self.placement.decode.params()["text"]["layers"])
            found["layers taken apart"] = copied + adapter * self.width // 4 + caches
        return found

    def update(self, rows: int, prompt: int, answers: int, slots: int, remat: str) -> int:
        """Of one micro-batch: what every layer leaves behind for the backward pass, one layer's workspace, the head's.
        answers: rows that a prompt's answers take."""
        c, cut = self.policy.text, self.cut
        tokens = rows * (prompt + answers * slots)
        pairs = 0
        if not self._fused(prompt):
            pairs = 4 * rows * c.num_attention_heads // cut * (prompt**2 + answers * slots * (prompt + slots))
        wide = 2 * c.intermediate_size // cut + (c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim // cut
        kept = {"full": 0, "auto": 0, "dots": wide + 2 * c.hidden_size, "none": 3 * wide + 4 * c.hidden_size}
        saved = c.num_hidden_layers * tokens * self.width * (c.hidden_size + kept[remat])
        work = tokens * self.width * (_NARROW_BACK * c.hidden_size + _WIDE_BACK * c.intermediate_size // cut)
        if remat in ("none", "dots"):
            saved += c.num_hidden_layers * pairs
        chunk = 4 * rows * answers * min(slots, 128) * c.vocab_size // cut * _LOGITS_BACK
        return saved + max(work + _LOGITS_BACK * pairs, chunk)

    def _fused(self, prompt: int) -> bool:
        """Whether the kernel keeps no logits."""
        c = self.policy.text
        with using(self.placement.decode.mesh, self.placement.decode.rules):
            chosen = choose_kernel(decoder.platform(), self.dtype, c.head_dim, prompt)
        return (chosen if c.attention == "auto" else c.attention) != "plain"
