"""Attention with the kernel that suits the place: XLA's, cuDNN's on GPUs, splash attention on TPUs.

`causal_attention` and `group_attention` take a kernel by name; "auto" is `choose_kernel` for the platform that the
program is traced for.
Whatever the kernel, the result is that of the plain one, rows of padding excepted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from emsa_jax.parallel.rules import platform
from emsa_jax.policy.attention_kernels import LANES, causal_mask, cudnn_answers, cudnn_causal, splash_attention
from emsa_jax.policy.policy_options import Kernel

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

Part = tuple[jax.Array, jax.Array, jax.Array]  # of a softmax, see `attention_part`
MASKED = -1e30  # finite: a query that may attend to nothing (padding) gets the mean of all values, never nan
BLOCK, BLOCKS = 256, 8  # the plain kernel's queries: at least so many at a time, in at most so many blocks


def choose_kernel(backend: str, dtype: DTypeLike, head_dim: int, length: int) -> Kernel:
    """The kernel for `backend` ("cpu", "gpu", "tpu"); length: the most keys that a query may see.

    Below 128 keys splash attention would mostly compute padding; below 256 the logits that cuDNN spares are small.
    """
    dtype = jnp.dtype(dtype)
    if backend == "tpu" and dtype in (jnp.bfloat16, jnp.float32) and head_dim % LANES == 0 and length >= LANES:
        return "splash"
    if backend == "gpu" and dtype in (jnp.bfloat16, jnp.float16) and head_dim <= 128 and head_dim % 8 == 0:
        return "cudnn" if length >= 256 else "plain"
    return "plain"


def causal_attention(
    q: Float[Array, "b s h d"],
    k: Float[Array, "b s heads d"],
    v: Float[Array, "b s heads d"],
    mask: Bool[Array, "b s"],
    kernel: str = "auto",
) -> Float[Array, "b s h d"]:
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
        return splash_attention(q, k, v, mask, q.shape[1], 1)
    if kernel == "cudnn":
        return cudnn_causal(q, k, v, mask)
    return _plain_causal(q, k, v, mask)


def group_attention(
    pq: Float[Array, "n p h d"],
    pk: Float[Array, "n p heads d"],
    pv: Float[Array, "n p heads d"],
    aq: Float[Array, "rows c h d"],
    ak: Float[Array, "rows c heads d"],
    av: Float[Array, "rows c heads d"],
    prompt_mask: Bool[Array, "n p"],
    segments: Int[Array, "n r c"] | None = None,
    kernel: str = "auto",
) -> tuple[Float[Array, "n p h d"], Float[Array, "rows c h d"]]:
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
        mixed = splash_attention(
            q, k, v, jnp.pad(prompt_mask, ((0, 0), (0, q.shape[1] - p)), constant_values=True), p, c
        )
        return mixed[:, :p], mixed[:, p:].reshape(aq.shape)
    if kernel == "cudnn":
        return cudnn_causal(pq, pk, pv, prompt_mask), cudnn_answers(pk, pv, aq, ak, av, prompt_mask)
    to_answer = causal_mask(c)
    if segments is not None:
        to_answer = to_answer & (segments[..., :, None] == segments[..., None, :]).reshape(-1, c, c)
    rows = aq.reshape(n, -1, *aq.shape[2:])
    to_prompt = jnp.broadcast_to(prompt_mask[:, None, :], (n, rows.shape[1], p))
    parts = [t.reshape(-1, c, *t.shape[2:]) for t in attention_part(rows, pk, pv, to_prompt)]
    answers = combine([parts, attention_part(aq, ak, av, jnp.broadcast_to(to_answer, (len(aq), c, c)))])
    return _plain_causal(pq, pk, pv, prompt_mask), answers.astype(aq.dtype)


def attention(
    q: Float[Array, "b s h d"],
    k: Float[Array, "b t heads d"],
    v: Float[Array, "b t heads d"],
    mask: Bool[Array, "#b s t"],
) -> Float[Array, "b s h d"]:
    """Plain attention, its softmax in float32 at least.

    q [B, S, H, d], k and v [B, T, K, d] with H a multiple of K (grouped queries), mask [B, S, T] bool
    (True: may attend). Returns [B, S, H, d].
    """
    return combine([attention_part(q, k, v, mask)]).astype(q.dtype)


def attention_part(
    q: Float[Array, "b s h d"],
    k: Float[Array, "b t heads d"],
    v: Float[Array, "b t heads d"],
    mask: Bool[Array, "#b s t"],
) -> tuple[Float[Array, "b s h d"], Float[Array, "b s h 1"], Float[Array, "b s h 1"]]:
    """One part of a softmax over several key sets.

    Shapes as in `attention`. Returns (weighted values [B, S, H, d], their weight [B, S, H, 1], the largest
    logit [B, S, H, 1]), at least float32; `combine` joins the parts under one softmax.
    """
    return cached_part(q, k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3), mask)


def cached_part(
    q: Float[Array, "b s h d"],
    k: Float[Array, "b heads t d"],
    v: Float[Array, "b heads t d"],
    mask: Bool[Array, "#b s t"],
) -> tuple[Float[Array, "b s h d"], Float[Array, "b s h 1"], Float[Array, "b s h 1"]]:
    """`attention_part` with keys and values as a cache holds them, [B, K, T, d]: not moved at every token."""
    b, s, h, d = q.shape
    heads, t = k.shape[1:3]
    # batch axes lead in both products: XLA's CPU backend runs other layouts several times slower
    grouped = q.reshape(b, s, heads, h // heads, d).transpose(0, 2, 3, 1, 4).reshape(b, heads, -1, d)
    wide = jnp.promote_types(q.dtype, jnp.float32)
    logits = jnp.einsum("bkqd,bktd->bkqt", grouped, k, preferred_element_type=wide) * d**-0.5
    logits = logits.reshape(b, heads, h // heads, s, t) + jnp.where(mask, 0.0, MASKED)[:, None, None]
    top = jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    weights = jnp.exp(logits - top)
    weighing = weights.reshape(b, heads, -1, t).astype(v.dtype)
    values = jnp.einsum("bkqt,bktd->bkqd", weighing, v, preferred_element_type=wide)

    def back(part: jax.Array) -> jax.Array:  # [b, heads, h / heads, s, n] -> [b, s, h, n]
        return part.transpose(0, 3, 1, 2, 4).reshape(b, s, h, -1)

    return back(values.reshape(b, heads, h // heads, s, d)), back(weights.sum(-1, keepdims=True)), back(top)


def combine(parts: Sequence[Part]) -> jax.Array:
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


def _plain_causal(
    q: Float[Array, "b s h d"], k: Float[Array, "b s heads d"], v: Float[Array, "b s heads d"], mask: Bool[Array, "b s"]
) -> Float[Array, "b s h d"]:
    """`causal_attention` a block of queries at a time: keys behind a block are never looked at."""
    slots = q.shape[1]
    block = max(BLOCK, -(-slots // BLOCKS))
    mixed = []
    for start in range(0, slots, block):
        end = min(start + block, slots)
        seen = causal_mask(end)[:, start:] & mask[:, None, :end]
        mixed.append(attention(q[:, start:end], k[:, :end], v[:, :end], seen))
    return jnp.concatenate(mixed, axis=1)
