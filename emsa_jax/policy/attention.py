"""Attention with the kernel that suits the place: XLA's, cuDNN's on GPUs, splash attention on TPUs.

`causal_attention` and `group_attention` take a kernel by name; "auto" is `choose_kernel` for the platform that the
program is traced for.
Whatever the kernel, the result is that of the plain one, rows of padding excepted.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask

from emsa_jax.parallel.rules import on_each, platform
from emsa_jax.policy.policy_options import Kernel

MASKED = -1e30  # finite: a query that may attend to nothing (padding) gets the mean of all values, never nan
BLOCK, BLOCKS = 256, 8  # the plain kernel's queries: at least so many at a time, in at most so many blocks
LANES = 128  # what splash attention's blocks are multiples of


def choose_kernel(backend: str, dtype, head_dim: int, length: int) -> Kernel:
    """The kernel for `backend` ("cpu", "gpu", "tpu"); length: the most keys that a query may see.

    Below 128 keys splash attention would mostly compute padding; below 256 the logits that cuDNN spares are small.
    """
    dtype = jnp.dtype(dtype)
    if backend == "tpu" and dtype in (jnp.bfloat16, jnp.float32) and head_dim % LANES == 0 and length >= LANES:
        return "splash"
    if backend == "gpu" and dtype in (jnp.bfloat16, jnp.float16) and head_dim <= 128 and head_dim % 8 == 0:
        return "cudnn" if length >= 256 else "plain"
    return "plain"


def causal_attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array, kernel: Kernel = "auto"):
    """Self-attention of sequences: every token attends to the valid ones up to itself.

    Args:
      q: [B, S, H, d]; k and v: [B, S, K, d] with H a multiple of K.
      mask: [B, S] bool, valid tokens; padding may stand on either side.

    Returns:
      [B, S, H, d] in q's dtype; rows of padding hold something finite.

    Raises:
      ValueError: unknown kernel.
    """
    kernel = _named(kernel, q, q.shape[1])
    if kernel == "splash":
        return _splash(q, k, v, mask, q.shape[1], 1)
    if kernel == "cudnn":
        return _cudnn_causal(q, k, v, mask)
    return _plain_causal(q, k, v, mask)


def group_attention(
    pq: jax.Array,
    pk: jax.Array,
    pv: jax.Array,
    aq: jax.Array,
    ak: jax.Array,
    av: jax.Array,
    prompt_mask: jax.Array,
    segments: jax.Array | None = None,
    kernel: Kernel = "auto",
) -> tuple[jax.Array, jax.Array]:
    """Attention of N prompts and the R rows of answers that share each of them.

    A prompt's tokens attend as in `causal_attention`. An answer's tokens attend to the whole prompt and to their own
    row up to themselves, under one softmax.

    Args:
      pq: [N, P, H, d]; pk and pv: [N, P, K, d].
      aq: [N * R, C, H, d]; ak and av: [N * R, C, K, d]; a prompt's rows are neighbours.
      prompt_mask: [N, P] bool, valid prompt tokens; padding may stand on either side.
      segments: int32 [N, R, C] where a row holds several answers: a token attends to its own segment only, and to the
        prompt. Segments are known at run time only, so splash attention cannot skip by them: "auto" then means plain.

    Returns:
      (prompts [N, P, H, d], answers [N * R, C, H, d]) in q's dtype; rows of padding hold something finite.

    Raises:
      ValueError: unknown kernel, or segments for another kernel than the plain one.
    """
    kernel = "plain" if kernel == "auto" and segments is not None else _named(kernel, aq, pq.shape[1] + aq.shape[1])
    if kernel != "plain" and segments is not None:
        raise ValueError(f"attention kernel {kernel!r} takes no segments")
    (n, p), c = pq.shape[:2], aq.shape[1]
    if kernel == "splash":
        q, k, v = (
            jnp.concatenate([x, y.reshape(n, -1, *y.shape[2:])], axis=1) for x, y in ((pq, aq), (pk, ak), (pv, av))
        )
        mixed = _splash(q, k, v, jnp.pad(prompt_mask, ((0, 0), (0, q.shape[1] - p)), constant_values=True), p, c)
        return mixed[:, :p], mixed[:, p:].reshape(aq.shape)
    if kernel == "cudnn":
        return _cudnn_causal(pq, pk, pv, prompt_mask), _cudnn_answers(pk, pv, aq, ak, av, prompt_mask)
    own = _up_to(c)
    if segments is not None:
        own = own & (segments[..., :, None] == segments[..., None, :]).reshape(-1, c, c)
    rows = aq.reshape(n, -1, *aq.shape[2:])
    to_prompt = jnp.broadcast_to(prompt_mask[:, None, :], (n, rows.shape[1], p))
    parts = [t.reshape(-1, c, *t.shape[2:]) for t in attention_part(rows, pk, pv, to_prompt)]
    answers = combine([parts, attention_part(aq, ak, av, jnp.broadcast_to(own, (len(aq), c, c)))])
    return _plain_causal(pq, pk, pv, prompt_mask), answers.astype(aq.dtype)


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    """Plain attention, float32 softmax.

    q [B, S, H, d], k and v [B, T, K, d] with H a multiple of K (grouped queries), mask [B, S, T] bool
    (True: may attend). Returns [B, S, H, d].
    """
    return combine([attention_part(q, k, v, mask)]).astype(q.dtype)


def attention_part(q, k, v, mask) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One part of a softmax over several key sets.

    Shapes as in `attention`. Returns (weighted values [B, S, H, d], their weight [B, S, H, 1], the largest
    logit [B, S, H, 1]), float32; `combine` joins the parts under one softmax.
    """
    return cached_part(q, k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3), mask)


def cached_part(q, k, v, mask) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`attention_part` with keys and values as a cache holds them, [B, K, T, d]: not moved at every token."""
    b, s, h, d = q.shape
    heads, t = k.shape[1:3]
    # batch axes lead in both products: XLA's CPU backend runs other layouts several times slower
    grouped = q.reshape(b, s, heads, h // heads, d).transpose(0, 2, 3, 1, 4).reshape(b, heads, -1, d)
    logits = jnp.einsum("bkqd,bktd->bkqt", grouped, k, preferred_element_type=jnp.float32) * d**-0.5
    logits = logits.reshape(b, heads, h // heads, s, t) + jnp.where(mask, 0.0, MASKED)[:, None, None]
    top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    weights = jnp.exp(logits - top)
    values = jnp.einsum(
        "bkqt,bktd->bkqd", weights.reshape(b, heads, -1, t).astype(v.dtype), v, preferred_element_type=jnp.float32
    )

    def back(part):  # [b, heads, h / heads, s, n] -> [b, s, h, n]
        return part.transpose(0, 3, 1, 2, 4).reshape(b, s, h, -1)

    return back(values.reshape(b, heads, h // heads, s, d)), back(weights.sum(-1, keepdims=True)), back(top)


def combine(parts) -> jax.Array:
    """Joins attention parts under one softmax: exact, since each part carries its weight and largest logit."""
    top = parts[0][2]
    for _, _, other in parts[1:]:
        top = jnp.maximum(top, other)
    scales = [jnp.exp(t - top) for _, _, t in parts]
    values = sum(v * s for (v, _, _), s in zip(parts, scales, strict=True))
    weight = sum(w * s for (_, w, _), s in zip(parts, scales, strict=True))
    return values / weight


def _named(kernel: str, q: jax.Array, length: int) -> Kernel:
    """The kernel asked for, else the one for the platform."""
    if kernel == "auto":
        return choose_kernel(platform(), q.dtype, q.shape[-1], length)
    if kernel not in get_args(Kernel):
        raise ValueError(f"unknown attention kernel {kernel!r}, must be one of {', '.join(get_args(Kernel))}")
    return kernel


def _plain_causal(q, k, v, mask) -> jax.Array:
    """`causal_attention` a block of queries at a time: keys behind a block are never looked at."""
    slots = q.shape[1]
    block = max(BLOCK, -(-slots // BLOCKS))
    mixed = []
    for start in range(0, slots, block):
        end = min(start + block, slots)
        seen = _up_to(end)[:, start:] & mask[:, None, :end]
        mixed.append(attention(q[:, start:end], k[:, :end], v[:, :end], seen))
    return jnp.concatenate(mixed, axis=1)


def _up_to(slots: int) -> jax.Array:
    """[1, slots, slots] bool: a slot and all before it."""
    order = jnp.arange(slots)
    return order[None, :, None] >= order[None, None, :]


@dataclass(frozen=True)
class _Tree(splash_mask.Mask):
    """The mask of [prompt, answer 1, ..]: causal, and answers do not see each other. The kernel computes it.

    The kernel shows `mask_function` one number for each query, out of `q_sequence`: its slot, and in the bits above it
    how far that is into its answer. The difference is the first key that it sees outside the prompt; to find it by a
    division for every pair would cost more.
    """

    slots: int
    prompt: int
    answer: int

    def __post_init__(self):
        if self.slots.bit_length() + self.answer.bit_length() > 31:
            raise ValueError(f"{self.slots} slots with answers of {self.answer} are too many for splash attention")

    @property
    def shape(self) -> tuple[int, int]:
        return self.slots, self.slots

    @property
    def q_sequence(self) -> np.ndarray:
        slot = np.arange(self.slots, dtype=np.int32)
        return slot | np.where(slot < self.prompt, 0, (slot - self.prompt) % self.answer) << self.slots.bit_length()

    def mask_function(self, queries, keys):
        slot, into = queries & ((1 << self.slots.bit_length()) - 1), queries >> self.slots.bit_length()
        return (keys <= slot) & ((keys < self.prompt) | (keys >= slot - into))

    def __getitem__(self, block: tuple[slice, slice]) -> np.ndarray:
        return self.mask_function(self.q_sequence[block[0], None], np.arange(self.slots)[None, block[1]])


def _splash(q, k, v, mask, prompt: int, answer: int) -> jax.Array:
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


def _splash_part(q, k, v, mask, *, prompt: int, answer: int) -> jax.Array:
    slots = q.shape[1]
    # larger blocks are faster, unless what fills them up is too much
    block = next(b for b in (4 * LANES, 2 * LANES, LANES) if -slots % b <= slots // 8 or b == LANES)
    room = ((0, 0), (0, -slots % block))
    q, k, v = (jnp.pad(x, (*room, (0, 0), (0, 0))).transpose(0, 2, 1, 3) for x in (q * q.shape[-1] ** -0.5, k, v))
    segment = jnp.pad(mask, room).astype(jnp.int32)
    sizes = ("block_q", "block_kv", "block_q_dkv", "block_kv_dkv", "block_q_dq", "block_kv_dq")
    kernel = splash.make_splash_mha_single_device(
        splash_mask.MultiHeadMask([_Tree(q.shape[2], prompt, answer)] * q.shape[1]),
        block_sizes=splash.BlockSizes(**dict.fromkeys(sizes, block)),
    )
    return jax.vmap(kernel)(q, k, v, splash.SegmentIds(segment, segment)).transpose(0, 2, 1, 3)[:, :slots]


def _cudnn_causal(q, k, v, mask, implementation: str = "cudnn") -> jax.Array:
    """`causal_attention` by cuDNN. Valid tokens move to the front, where causality keeps padding out, and back."""
    rows, order = jnp.arange(len(mask))[:, None], jnp.argsort(~mask, axis=1, stable=True)

    def moved(x, order):  # each index once: the gradient needs no atomic additions
        return x.at[rows, order].get(unique_indices=True)

    q, k, v = (_even(moved(x, order)) for x in (q, k, v))
    mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True, implementation=implementation)
    return moved(mixed[:, : mask.shape[1]], jnp.argsort(order, axis=1))


def _cudnn_answers(pk, pv, aq, ak, av, prompt_mask, implementation: str = "cudnn") -> jax.Array:
    """The answers' half of `group_attention` by cuDNN.

    It has no softmax over two key sets that gradients go through, so each answer gets a copy of its prompt's keys and
    values before its own, and a mask that all heads share.
    """
    n, (rows, c) = len(pk), aq.shape[:2]
    pk, pv, prompt_mask = (jnp.repeat(_even(x), rows // n, axis=0) for x in (pk, pv, prompt_mask))
    aq, ak, av = (_even(x) for x in (aq, ak, av))
    to_prompt = jnp.broadcast_to(prompt_mask[:, None, :], (rows, aq.shape[1], pk.shape[1]))
    to_own = jnp.broadcast_to(_up_to(aq.shape[1]), (rows, aq.shape[1], ak.shape[1]))
    return jax.nn.dot_product_attention(
        aq,
        jnp.concatenate([pk, ak], axis=1),
        jnp.concatenate([pv, av], axis=1),
        mask=jnp.concatenate([to_prompt, to_own], axis=2)[:, None],
        implementation=implementation,
    )[:, :c]


def _even(x: jax.Array) -> jax.Array:
    """x with an even second axis, which gradients by cuDNN want: zeros (False) behind where it was odd."""
    return jnp.pad(x, [(0, 0), (0, x.shape[1] % 2)] + [(0, 0)] * (x.ndim - 2))
