"""The text decoder: prompt forward, cached decoding, and the joint forward of a prompt with its group of answers.

A prompt is computed once and shared by its G answers, in rollout and in learning: answers attend to the prompt's
keys and values and to their own, under one softmax, and gradients flow back into the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import DTypeLike

from emsa_jax.parallel.rules import constrain, platform
from emsa_jax.policy.attention import cached_part, causal_attention, combine, group_attention
from emsa_jax.policy.layers import PRODUCT, linear, rms_norm, rotate, stack_of
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.thinker_config import TextConfig

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int

REMAT = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT),
}


@struct.dataclass
class Cache:
    """Keys and values of all layers, [layers, rows, kv_heads, slots, head_dim], or of one, without the first axis.

    Heads stand before slots, as the products need them; else the whole cache would be copied at every token.
    """

    k: jax.Array
    v: jax.Array


def forward(
    params: dict,
    adapter: Adapter | None,
    config: TextConfig,
    x: Float[Array, "b s d"],
    positions: Int[Array, "3 b s"],
    mask: Bool[Array, "b s"],
    remat: str = "none",
) -> tuple[Float[Array, "b s d"], Cache]:
    """Runs whole sequences.

    Args:
      params: the "text" subtree.
      x: [B, S, D] input embeddings.
      positions: [3, B, S] int32, TMRoPE positions (time, height, width).
      mask: [B, S] bool, valid tokens; padding may stand on either side.
      remat: what the backward pass computes again: "none"; "dots", all but the products with weights (attention is
        computed again); "full", every layer.

    Returns:
      (hidden [B, S, D] after the final norm, the cache of all layers).
    """
    scale = adapter.scale if adapter else 0.0
    cos, sin = _rope(config, positions, x.dtype)

    def layer(x: jax.Array, stacked: tuple) -> tuple[jax.Array, Any]:
        p, ab = stacked
        q, k, v = _qkv(p, ab, scale, config, x, cos, sin)
        x = _after_attention(p, ab, scale, config, x, causal_attention(q, k, v, mask, config.attention))
        return x, Cache(k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3))

    x, cache = jax.lax.scan(_remat(layer, remat), x, (params["layers"], stack_of(adapter, "text")))
    return rms_norm(x, params["norm"], config.rms_norm_eps), cache


def forward_groups(
    params: dict,
    adapter: Adapter | None,
    config: TextConfig,
    prompt: Float[Array, "n p d"],
    prompt_positions: Int[Array, "3 n p"],
    prompt_mask: Bool[Array, "n p"],
    answer: Float[Array, "n g c d"],
    answer_positions: Int[Array, "3 n g c"] | Int[Array, "3 n c"],
    remat: str = "none",
    segments: Int[Array, "n g c"] | None = None,
) -> tuple[Float[Array, "n p d"], Float[Array, "n g c d"]]:
    """Runs each prompt once together with its G answers; the result equals running every pair on its own.

    Args:
      prompt: [N, P, D] embeddings; prompt_positions [3, N, P]; prompt_mask [N, P] bool.
      answer: [N, G, C, D] embeddings; answer_positions [3, N, G, C], or [3, N, C] where a group's answers share them.
      segments: int32 [N, G, C] where the G rows hold several answers each: tokens see their own segment only.

    Returns:
      (prompt hidden [N, P, D], answer hidden [N, G, C, D]), both after the final norm.
    """
    scale = adapter.scale if adapter else 0.0
    (n, p, d), (g, c) = prompt.shape, answer.shape[1:3]
    if answer_positions.ndim == 3:
        answer_positions = jnp.repeat(answer_positions[:, :, None], g, axis=2)
    positions = jnp.concatenate([prompt_positions, answer_positions.reshape(3, n, g * c)], axis=2)
    cos, sin = _rope(config, positions, prompt.dtype)

    def cut(t: jax.Array) -> tuple[jax.Array, jax.Array]:  # of a prompt and the answers behind it
        return t[:, :p], t[:, p:].reshape(n * g, c, *t.shape[2:])

    def layer(x: jax.Array, stacked: tuple) -> tuple[jax.Array, Any]:
        params, ab = stacked
        (pq, aq), (pk, ak), (pv, av) = map(cut, _qkv(params, ab, scale, config, x, cos, sin))
        prompts, answers = group_attention(pq, pk, pv, aq, ak, av, prompt_mask, segments, config.attention)
        mixed = jnp.concatenate([prompts, answers.reshape(n, g * c, *answers.shape[2:])], axis=1)
        return _after_attention(params, ab, scale, config, x, mixed), None

    # prompts and answers go through every product together: two products of fewer rows cost more than one
    x = jnp.concatenate([prompt, answer.reshape(n, g * c, d)], axis=1)
    x, _ = jax.lax.scan(_remat(layer, remat), x, (params["layers"], stack_of(adapter, "text")))
    x = rms_norm(x, params["norm"], config.rms_norm_eps)
    return x[:, :p], x[:, p:].reshape(n, g, c, d)


def forward_after(
    params: dict,
    adapter: Adapter | None,
    config: TextConfig,
    x: Float[Array, "b s d"],
    positions: Int[Array, "3 b s"],
    mask: Bool[Array, "b s s"],
    before: Sequence[tuple[Cache, Bool[Array, "_ _"]]],
) -> tuple[Float[Array, "b s d"], Cache]:
    """Runs sequences that follow cached ones.

    Args:
      x: [B, S, D] embeddings; positions [3, B, S].
      mask: [B, S, S] bool, the tokens of its own sequence that each token attends to, itself among them.
      before: caches of what stands before the sequences, each with the mask [rows, slots] of its valid tokens; each of
        its rows is followed by B / rows neighbouring sequences.

    Returns:
      (hidden [B, S, D] after the final norm, the cache of these sequences in all layers).
    """
    scale = adapter.scale if adapter else 0.0
    cos, sin = _rope(config, positions, x.dtype)

    def layer(x: jax.Array, stacked: tuple) -> tuple[jax.Array, Any]:
        p, ab, caches = stacked
        q, k, v = _qkv(p, ab, scale, config, x, cos, sin)
        own = Cache(k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3))
        parts = [cached_part(q, own.k, own.v, mask)]
        for cache, (_, valid) in zip(caches, before, strict=True):
            rows = q.reshape(len(valid), -1, *q.shape[2:])
            seen = jnp.broadcast_to(valid[:, None], (*rows.shape[:2], valid.shape[1]))
            parts.append([t.reshape(*q.shape[:2], *t.shape[2:]) for t in cached_part(rows, cache.k, cache.v, seen)])
        return _after_attention(p, ab, scale, config, x, combine(parts).astype(x.dtype)), own

    caches = [cache for cache, _ in before]
    x, cache = jax.lax.scan(layer, x, (params["layers"], stack_of(adapter, "text"), caches))
    return rms_norm(x, params["norm"], config.rms_norm_eps), cache


@struct.dataclass
class DecodeLayer:
    """What a layer reads to decode: its weights, its adapter, and the prompts' keys and values [N, kv_heads, P, d]."""

    params: dict
    adapter: dict
    prompt_k: jax.Array
    prompt_v: jax.Array


def unroll_layers() -> bool:
    """Whether decoding runs the layers one after the other, from one array for each, or in a loop over their stack.

    TPUs read a layer's weights where they lie in the stack. CPUs and GPUs need a separate array for each product: in a
    loop over stacked layers they would copy every layer at every token (docs/scaling.md).
    """
    return platform() != "tpu"


def decode_layers(params: dict, adapter: Adapter | None, prompt: Cache) -> DecodeLayer | list[DecodeLayer]:
    """The layers for all tokens to come: a list where `unroll_layers`, else stacked. The adapter is cast here, once."""
    adapter = jax.tree.map(lambda t: t.astype(prompt.k.dtype), stack_of(adapter, "text"))
    stacked = DecodeLayer(params["layers"], adapter, prompt.k, prompt.v)
    if not unroll_layers():
        return stacked
    return [jax.tree.map(lambda t, i=i: t[i], stacked) for i in range(len(prompt.k))]


def empty_cache(config: TextConfig, rows: int, slots: int, dtype: DTypeLike) -> Cache | list[Cache]:
    """A cache of zeros for `rows` answers of at most `slots` tokens, [rows, kv_heads, slots, head_dim] for each layer:
    a list or stacked, as the layers are."""
    shape = (rows, config.num_key_value_heads, slots, config.head_dim)
    if unroll_layers():
        return [Cache(_zeros(shape, dtype), _zeros(shape, dtype)) for _ in range(config.num_hidden_layers)]
    shape = (config.num_hidden_layers, *shape)
    return Cache(_zeros(shape, dtype), _zeros(shape, dtype))


def _zeros(shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    axes = ("layers",) * (len(shape) - 4) + ("batch", "kv_heads", None, None)
    return constrain(jnp.zeros(shape, dtype), *axes)


def grown(caches: Cache | list[Cache], slots: int) -> Cache | list[Cache]:
    """The same caches with empty slots behind them."""

    def longer(t: jax.Array) -> jax.Array:
        return jnp.pad(t, [(0, 0)] * (t.ndim - 2) + [(0, slots - t.shape[-2]), (0, 0)])

    return jax.tree.map(longer, caches)


def decode_step(
    params: dict,
    layers: DecodeLayer | list[DecodeLayer],
    scale: float,
    config: TextConfig,
    x: Float[Array, "n g d"],
    positions: Int[Array, "3 n"],
    slot: int | Int[Array, ""],
    prompt_mask: Bool[Array, "n p"],
    caches: Cache | list[Cache],
) -> tuple[Float[Array, "n g d"], Cache | list[Cache]]:
    """One token of each answer.

    Args:
      layers: of `decode_layers`; the prompts' keys and values are shared by each group's G answers.
      scale: the adapter's.
      x: [N, G, D] embeddings of the token at `slot`; positions [3, N].
      slot: int32 scalar, the answer slot that is written.
      prompt_mask: [N, P] bool.
      caches: of the answers (N * G rows), carried from step to step and written in place.

    Returns:
      (hidden [N, G, D] after the final norm, the caches with this token in them).
    """
    n, g, d = x.shape
    cos, sin = (jnp.repeat(t, g, axis=0) for t in _rope(config, positions[:, :, None], x.dtype))
    to_prompt = jnp.broadcast_to(prompt_mask[:, None, :], (n, g, prompt_mask.shape[1]))
    slots = jax.tree.leaves(caches)[0].shape[-2]
    to_answer = jnp.broadcast_to(jnp.arange(slots) <= slot, (n * g, 1, slots))

    def one(
        x: jax.Array, layer: DecodeLayer, cache: Cache, *at: jax.Array
    ) -> tuple[jax.Array, Cache]:  # at: where in the cache the layer's part is, if it holds all layers
        q, k, v = _qkv(layer.params, layer.adapter, scale, config, x, cos, sin)
        cache = Cache(
            *(
                jax.lax.dynamic_update_slice(
                    t, jnp.expand_dims(new.transpose(0, 2, 1, 3), tuple(range(len(at)))), (*at, 0, 0, slot, 0)
                )
                for t, new in ((cache.k, k), (cache.v, v))
            )
        )
        k, v = (t[at] if at else t for t in (cache.k, cache.v))
        parts = cached_part(q.reshape(n, g, *q.shape[2:]), layer.prompt_k, layer.prompt_v, to_prompt)
        parts = [t.reshape(n * g, 1, *t.shape[2:]) for t in parts]
        mixed = combine([parts, cached_part(q, k, v, to_answer)]).astype(x.dtype)
        return _after_attention(layer.params, layer.adapter, scale, config, x, mixed), cache

    x = x.reshape(n * g, 1, d)
    if isinstance(layers, list):
        written = []
        for layer, cache in zip(layers, caches, strict=True):
            x, cache = one(x, layer, cache)
            written.append(cache)
    else:
        (x, written), _ = jax.lax.scan(
            lambda carry, xs: (one(carry[0], xs[1], carry[1], xs[0]), None),
            (x, caches),
            (jnp.arange(len(layers.prompt_k)), layers),
        )
    return rms_norm(x, params["norm"], config.rms_norm_eps).reshape(n, g, d), written


def head(params: dict) -> Float[Array, "v d"]:
    """The output matrix [V, D]; the embedding itself where they are tied."""
    return params.get("lm_head", params["embed_tokens"])


def last_valid(hidden: Float[Array, "n p d"], mask: Bool[Array, "n p"]) -> Float[Array, "n d"]:
    """[N, P, D] -> [N, D]: the state at each row's last valid slot."""
    last = mask.shape[1] - 1 - jnp.argmax(mask[:, ::-1], axis=1)
    return jnp.take_along_axis(hidden, last[:, None, None], axis=1)[:, 0]


def _qkv(
    p: dict, ab: dict, scale: float, config: TextConfig, x: jax.Array, cos: jax.Array, sin: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Queries, keys and values of one layer, rotated: [B, S, heads, head_dim] each."""
    h = rms_norm(x, p["input_norm"], config.rms_norm_eps)
    q, k, v = (
        linear(h, p[n], ab.get(n), scale).reshape(*h.shape[:2], -1, config.head_dim)
        for n in ("q_proj", "k_proj", "v_proj")
    )
    if config.qk_norm:
        q, k = rms_norm(q, p["q_norm"], config.rms_norm_eps), rms_norm(k, p["k_norm"], config.rms_norm_eps)
    return rotate(q, cos, sin), rotate(k, cos, sin), v


def _after_attention(p: dict, ab: dict, scale: float, config: TextConfig, x: jax.Array, mixed: jax.Array) -> jax.Array:
    """The rest of a layer after attention: output projection and SwiGLU, with their residuals."""
    x = x + linear(mixed.reshape(*x.shape[:2], -1), p["o_proj"], ab.get("o_proj"), scale)
    h = rms_norm(x, p["post_attention_norm"], config.rms_norm_eps)
    gate = jax.nn.silu(linear(h, p["gate_proj"], ab.get("gate_proj"), scale))
    return x + linear(
        gate * linear(h, p["up_proj"], ab.get("up_proj"), scale), p["down_proj"], ab.get("down_proj"), scale
    )


def _rope(
    config: TextConfig, positions: Int[Array, "3 b s"], dtype: DTypeLike
) -> tuple[Float[Array, "b s 1 head_dim"], Float[Array, "b s 1 head_dim"]]:
    """cos, sin [B, S, 1, head_dim] in `dtype`: each frequency follows the axis that mrope_section gives it."""
    half = config.head_dim // 2
    inverse = 1.0 / config.rope_theta ** (np.arange(half) / half)
    axis = np.repeat(np.arange(3), config.mrope_section)
    angles = positions[axis].astype(jnp.float32) * jnp.asarray(inverse, jnp.float32)[:, None, None]
    angles = jnp.moveaxis(angles, 0, -1)[:, :, None, :]
    angles = jnp.concatenate([angles, angles], axis=-1)
    return jnp.cos(angles).astype(dtype), jnp.sin(angles).astype(dtype)


def _remat(layer: Callable, name: str) -> Callable:
    # a loop keeps the compiler from sharing what is computed again with what was computed before
    return layer if name == "none" else jax.checkpoint(layer, policy=REMAT[name], prevent_cse=False)
