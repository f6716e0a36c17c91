"""Fused attention: splash attention on TPUs (Pallas, as JAX ships it) and cuDNN on GPUs.

`policy.attention` chooses between them and the plain computation; shapes and meaning are described there.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask

from emsa_jax.parallel.rules import on_each

LANES = 128  # what splash attention's blocks are multiples of


def causal_mask(slots: int) -> jax.Array:
    """[1, slots, slots] bool: each slot attends to itself and to all before it."""
    order = jnp.arange(slots)
    return order[None, :, None] >= order[None, None, :]


@dataclass(frozen=True)
class TreeMask(splash_mask.Mask):
    """The mask of [prompt, answer 1, ..]: causal, and answers do not see each other. The kernel computes it.

    The kernel shows `mask_function` one number for each query, out of `q_sequence`: its slot, and in the bits above it
    how far that is into its answer. The difference is the first key that it sees outside the prompt; to find it by a
    division for every pair would cost more.
    """

    slots: int
    prompt: int
    answer: int

    def __post_init__(self) -> None:
        if self.slots.bit_length() + self.answer.bit_length() > 31:
            raise ValueError(f"{self.slots} slots with answers of {self.answer} are too many for splash attention")

    @property
    def shape(self) -> tuple[int, int]:
        return self.slots, self.slots

    @property
    def q_sequence(self) -> np.ndarray:
        slot = np.arange(self.slots, dtype=np.int32)
        return slot | np.where(slot < self.prompt, 0, (slot - self.prompt) % self.answer) << self.slots.bit_length()

    def mask_function(self, queries: np.ndarray, keys: np.ndarray) -> np.ndarray:
        slot, into = queries & ((1 << self.slots.bit_length()) - 1), queries >> self.slots.bit_length()
        return (keys <= slot) & ((keys < self.prompt) | (keys >= slot - into))

    def __getitem__(self, block: tuple[slice, slice]) -> np.ndarray:
        return self.mask_function(self.q_sequence[block[0], None], np.arange(self.slots)[None, block[1]])


def splash_attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array, prompt: int, answer: int) -> jax.Array:
    """Splash attention over [prompt, answer 1, ..]: `prompt` slots, then `answer` for each; empty blocks are skipped.

    Shapes as in `causal_attention`. Padding is another segment than valid tokens: the two never see each other, and
    every slot sees itself, so every row is finite. On a mesh queries are cut where keys and values are.
    """
    heads = ("batch", None, "kv_heads", None)
    run = on_each(
        functools.partial(_splash_part, prompt=prompt, answer=answer),
        heads,
        heads,
        heads,
        ("batch", None),
        out=heads,
        units={"kv_heads": k.shape[2]},
    )
    return run(q, k, v, mask)


def _splash_part(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array, *, prompt: int, answer: int) -> jax.Array:
    slots = q.shape[1]
    # larger blocks are faster, unless what fills them up is too much
    block = next(b for b in (4 * LANES, 2 * LANES, LANES) if -slots % b <= slots // 8 or b == LANES)
    room = ((0, 0), (0, -slots % block))
    q, k, v = (jnp.pad(x, (*room, (0, 0), (0, 0))).transpose(0, 2, 1, 3) for x in (q * q.shape[-1] ** -0.5, k, v))
    segment = jnp.pad(mask, room).astype(jnp.int32)
    sizes = ("block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq")
    kernel = splash.make_splash_mha_single_device(
        splash_mask.MultiHeadMask([TreeMask(q.shape[2], prompt, answer)] * q.shape[1]),
        block_sizes=splash.BlockSizes(**dict.fromkeys(sizes, block)),
    )
    return jax.vmap(kernel)(q, k, v, splash.SegmentIds(segment, segment)).transpose(0, 2, 1, 3)[:, :slots]


def cudnn_causal(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array, implementation: str = "cudnn") -> jax.Array:
    """`causal_attention` by cuDNN. Valid tokens move to the front, where causality keeps padding out, and back."""
    rows, order = jnp.arange(len(mask))[:, None], jnp.argsort(~mask, axis=1, stable=True)

    def moved(x: jax.Array, order: jax.Array) -> jax.Array:  # each index once: the gradient needs no atomic additions
        return x.at[rows, order].get(unique_indices=True)

    q, k, v = (_even(moved(x, order)) for x in (q, k, v))
    mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=implementation)
    return moved(mixed[:, : mask.shape[1]], jnp.argsort(order, axis=1))


def cudnn_answers(
    pk: jax.Array,
    pv: jax.Array,
    aq: jax.Array,
    ak: jax.Array,
    av: jax.Array,
    prompt_mask: jax.Array,
    implementation: str = "cudnn",
) -> jax.Array:
    """The answers' half of `group_attention` by cuDNN.

    It has no softmax over two key sets that gradients go through, so each answer gets a copy of its prompt's keys and
    values before its own, and a mask that all heads share.
    """
    n, (rows, c) = len(pk), aq.shape[:2]
    pk, pv, prompt_mask = (jnp.repeat(_even(x), rows // n, axis=0) for x in (pk, pv, prompt_mask))
    aq, ak, av = (_even(x) for x in (aq, ak, av))
    to_prompt = jnp.broadcast_to(prompt_mask[:, None, :], (rows, aq.shape[1], pk.shape[1]))
    to_answer = jnp.broadcast_to(causal_mask(aq.shape[1]), (rows, aq.shape[1], ak.shape[1]))
    return jax.nn.dot_product_attention(
        aq,
        jnp.concatenate([pk, ak], axis=1),
        jnp.concatenate([pv, av], axis=1),
        mask=jnp.concatenate([to_prompt, to_answer], axis=2)[:, None],
        implementation=implementation,
    )[:, :c]


def _even(x: jax.Array) -> jax.Array:
    """x with an even second axis, which gradients by cuDNN want: zeros (False) behind where it was odd."""
    return jnp.pad(x, [(0, 0), (0, x.shape[1] % 2)] + [(0, 0)] * (x.ndim - 2))
