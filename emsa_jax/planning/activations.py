"""What prompts, caches and activations take of each device, by arithmetic that is fitted to what compilers say."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from emsa_jax.parallel.rules import using
from emsa_jax.policy import decoder
from emsa_jax.policy.attention import BLOCK, BLOCKS, choose_kernel
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.parameter_table import abstract_params
from emsa_jax.policy.thinker_config import ClipConfig, ThinkerConfig
from emsa_jax.rollout.expected_scores import HEAD_ROWS
from emsa_jax.runtime.placement import ELEMENT_BYTES, Placement, bytes_per_device

# How many arrays of a layer are alive at once: as wide as its MLP, and as wide as its states; then the same for the
# backward pass, and for the logits of the head. Fitted to XLA's compilers for TPUs and GPUs (docs/scaling.md).
_WIDE, _NARROW = 2, 6
_WIDE_BACK, _NARROW_BACK, _LOGITS_BACK = 4, 16, 2

# The same of what a tower's layer leaves behind for the backward pass, and how often its attention's logits are.
_NARROW_LEFT, _WIDE_LEFT, _LOGITS_LEFT = 8, 4, 2

_HEAD_CHUNK = 128  # answer slots whose logits the update computes at once


@dataclass(frozen=True)
class Activations:
    """Bytes of one device, for a policy on a mesh.

    In all methods `rows` is the number of prompts of one shard, `prompt` the tokens of each of them, reserved or real,
    and `slots` the tokens of an answer.

    Attributes:
      dtype: of the base and its activations, "float32" or "bfloat16".
    """

    policy: ThinkerConfig
    placement: Placement
    dtype: str

    @property
    def element_bytes(self) -> int:
        """Bytes of one number."""
        return ELEMENT_BYTES[self.dtype]

    @property
    def tensor(self) -> int:
        """Devices over which heads, MLP and vocabulary are cut."""
        return self.placement.update.mesh.shape["tensor"]

    def inputs(self, shape: InputShape) -> int:
        """The pixels and the sound of a shard's inputs, in float32, or the states of both towers; tokens are little
        beside them."""
        audio, vision = self.policy.audio, self.policy.vision
        patches = shape.patch_rows * shape.patch_row
        if shape.encoded:
            heard = shape.chunks * self._chunk_frames(shape) // 4 * audio.d_model if audio else 0
            return self.element_bytes * (heard + (patches * vision.hidden_size if vision else 0))
        pixels = patches * vision.patch_dim if vision else 0
        sound = shape.chunks * self._chunk_frames(shape) * audio.num_mel_bins if audio else 0
        return 4 * (pixels + sound)

    def prompts(self, rows: int, prompt: int) -> int:
        """Encoded prompts."""
        return rows * prompt * self.policy.text.hidden_size * self.element_bytes

    def cache(self, rows: int, slots: int) -> int:
        """Keys and values of all layers."""
        c = self.policy.text
        cut = self.tensor if c.num_key_value_heads % self.tensor == 0 else 1
        numbers = rows * slots * 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim
        return numbers * self.element_bytes // cut

    def encode(self, rows: int, shape: InputShape) -> dict[str, int]:
        """A layer of the tower that needs more, over all chunks of sound or all rows of patches."""
        if shape.encoded:
            return {"prompts": self.prompts(rows, shape.prompt)}
        found, work = {"prompts": self.prompts(rows, shape.prompt)}, max(self._audio(shape), self._vision(shape))
        return found | ({"activations": work} if self.policy.audio or self.policy.vision else {})

    def _chunk_frames(self, shape: InputShape) -> int:
        return shape.chunk_frames or 2 * self.policy.audio.n_window

    def _audio(self, shape: InputShape) -> int:
        """A layer of the audio tower, whose attention holds its logits twice, or its first convolution."""
        c = self.policy.audio
        if c is None:
            return 0
        heads = c.encoder_attention_heads
        heads = heads // self.tensor if heads % self.tensor == 0 else heads
        frames, states = self._chunk_frames(shape), self._chunk_frames(shape) // 2
        logits = 2 * 4 * heads * states**2
        wide = _WIDE * states * c.encoder_ffn_dim // self.tensor
        widest = max(logits, self.element_bytes * wide, self.element_bytes * frames * c.d_model)
        return shape.chunks * (widest + self.element_bytes * _NARROW * states * c.d_model)

    def _vision(self, shape: InputShape) -> int:
        """A layer of the vision tower."""
        c, patches = self.policy.vision, shape.patch_rows * shape.patch_row
        if c is None:
            return 0
        heads = c.num_heads // self.tensor if c.num_heads % self.tensor == 0 else c.num_heads
        logits = 4 * patches * shape.patch_row * heads
        work = patches * self.element_bytes * (_NARROW * c.hidden_size + _WIDE * c.intermediate_size // self.tensor)
        return logits + work

    def behind_towers(self, shape: InputShape, towers: Collection[str]) -> int:
        """What the layers of towers ("audio", "vision") leave behind for the backward pass, where gradients flow
        through them."""
        if shape.encoded:
            return 0
        left, audio, vision = 0, self.policy.audio, self.policy.vision
        if "audio" in towers and audio:
            states = self._chunk_frames(shape) // 2
            wide = _NARROW_LEFT * audio.d_model + _WIDE_LEFT * audio.encoder_ffn_dim
            logits = _LOGITS_LEFT * 4 * audio.encoder_attention_heads * states
            left += audio.encoder_layers * shape.chunks * states * (self.element_bytes * wide + logits)
        if "vision" in towers and vision:
            wide = _NARROW_LEFT * vision.hidden_size + _WIDE_LEFT * vision.intermediate_size
            logits = _LOGITS_LEFT * 4 * vision.num_heads * shape.patch_row
            layers = vision.num_hidden_layers if isinstance(vision, ClipConfig) else vision.depth
            left += layers * shape.patch_rows * shape.patch_row * (self.element_bytes * wide + logits)
        return left

    def ends(self, rows: int, prompt: int, answers: int, slots: int, tokens: int) -> dict[str, int]:
        """Log-probabilities of all scores that answers may end with.

        Args:
          answers: to each prompt. slots: of what they say before their scores. tokens: of the tree of ends.
        """
        c, count = self.policy.text, rows * answers

        def layer(length: int, seen: int) -> int:
            states = self.element_bytes * (_NARROW * c.hidden_size + _WIDE * c.intermediate_size // self.tensor)
            return count * length * (states + 2 * 4 * seen * c.num_attention_heads // self.tensor)

        said = layer(slots, prompt + slots) if slots else 0
        head = 4 * min(HEAD_ROWS, count * tokens) * c.vocab_size // self.tensor
        return {
            "prompts": self.prompts(rows, prompt),
            "prompt cache": self.cache(rows, prompt),
            "answer cache": self.cache(count, slots),
            "activations": max(said, layer(tokens, prompt + slots + tokens), head),
        }

    def prefill(self, rows: int, prompt: int) -> dict[str, int]:
        """Prompts through the decoder."""
        c = self.policy.text
        block = max(BLOCK, -(-prompt // BLOCKS))  # of queries: plain attention computes its logits block by block
        pairs = 0 if self._is_fused(prompt) else rows * min(block, prompt) * prompt
        logits = 4 * pairs * c.num_attention_heads // self.tensor
        layer = _NARROW * c.hidden_size + _WIDE * c.intermediate_size // self.tensor
        return {
            "prompts": self.prompts(rows, prompt),
            "prompt cache": self.cache(rows, prompt),
            "activations": logits + rows * prompt * self.element_bytes * layer,
        }

    def decode(self, rows: int, prompt: int, answers: int, slots: int, adapter: int) -> dict[str, int]:
        """Answers to prompts.

        Args:
          answers: to each prompt.
          adapter: bytes of the adapter in float32.
        """
        caches = self.cache(rows, prompt)
        found = {
            "prompts": self.prompts(rows, prompt),
            "prompt cache": caches,
            "answer cache": self.cache(rows * answers, slots) * 3 // 2,
            "logits": 4 * 4 * rows * answers * self.policy.text.vocab_size // self.tensor,
        }
        with using(self.placement.decode.mesh, self.placement.decode.rules):
            unrolled = decoder.unroll_layers()
        if unrolled:
            layers = abstract_params(self.policy, self.dtype)["text"]["layers"]
            copied = bytes_per_device(layers, self.placement.decode.params()["text"]["layers"])
            found["layers taken apart"] = copied + adapter * self.element_bytes // 4 + caches
        return found

    def update(self, rows: int, prompt: int, answers: int, slots: int, remat: str) -> int:
        """A micro-batch: what every layer leaves behind for the backward pass, one layer's workspace, the head's.

        Args:
          rows: prompts of a shard in one micro-batch.
          answers: rows that a prompt's answers take.
          remat: what the backward pass computes again: "none", "dots" or "full".
        """
        c, cut = self.policy.text, self.tensor
        tokens = rows * (prompt + answers * slots)
        pairs = 0
        if not self._is_fused(prompt):
            pairs = 4 * rows * c.num_attention_heads // cut * (prompt**2 + answers * slots * (prompt + slots))
        wide = 2 * c.intermediate_size // cut + (c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim // cut
        kept = {"full": 0, "dots": wide + 2 * c.hidden_size, "none": 3 * wide + 4 * c.hidden_size}
        saved = c.num_hidden_layers * tokens * self.element_bytes * (c.hidden_size + kept[remat])
        layer = _NARROW_BACK * c.hidden_size + _WIDE_BACK * c.intermediate_size // cut
        if remat == "none":  # the others do attention again
            saved += c.num_hidden_layers * pairs
        head = 4 * rows * answers * min(slots, _HEAD_CHUNK) * c.vocab_size // cut * _LOGITS_BACK
        return saved + max(tokens * self.element_bytes * layer + _LOGITS_BACK * pairs, head)

    def _is_fused(self, prompt: int) -> bool:
        """Whether the attention kernel keeps no logits in memory."""
        c = self.policy.text
        with using(self.placement.decode.mesh, self.placement.decode.rules):
            chosen = choose_kernel(decoder.platform(), self.dtype, c.head_dim, prompt)
        return (chosen if c.attention == "auto" else c.attention) != "plain"
