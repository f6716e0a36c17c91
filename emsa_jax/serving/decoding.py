"""Answers to a batch of prompts, some tokens at a time, so that text can be shown as it is made.

Every row has its own temperature, nucleus, limit and noise: they are arrays, so that one compiled program serves all
requests. Noise is a function of (seed, answer, token) alone, not of the batch that a request happens to be in.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import DTypeLike

from emsa_jax.policy import decoder
from emsa_jax.policy.inputs import PromptInputs
from emsa_jax.policy.layers import stack_of
from emsa_jax.policy.lora import Adapter, with_whole
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.draw import nucleus, pick
from emsa_jax.rollout.sampler import prefill


@struct.dataclass
class Layers:
    """The decoder as it decodes, made once: a list of each layer's weights and adapter, or their stacks
    (`decoder.unroll_layers`)."""

    params: dict | list[dict]
    adapter: dict | list[dict]


@struct.dataclass
class Asked:
    """What a batch of N prompts leaves behind for its answers. They do not change while these are made.

    Attributes:
      caches: keys and values of the prompts, of one layer each or of all, as the layers are.
      mask: [N, P] bool.
      next_position: [3, N] int32.
    """

    caches: decoder.Cache | list[decoder.Cache]
    mask: jax.Array
    next_position: jax.Array


@struct.dataclass
class Knobs:
    """How each row of a batch is answered.

    Attributes:
      temperature: [N] float32; 0 takes the likeliest token.
      top_p: [N] float32.
      seed, answer: [N] int32, what the noise of a row depends on.
      limit: [N] int32, tokens after which an answer is cut off.
      stopped: [N] bool, rows that nobody waits for any more.
      alternatives: [] bool, whether the likeliest tokens of each place are wanted.
    """

    temperature: jax.Array
    top_p: jax.Array
    seed: jax.Array
    answer: jax.Array
    limit: jax.Array
    stopped: jax.Array
    alternatives: jax.Array


@struct.dataclass
class Answering:
    """Where the answers stand: the next slot (int32 []), hidden [N, D] it is predicted from, caches, done [N] bool."""

    slot: jax.Array
    hidden: jax.Array
    caches: decoder.Cache | list[decoder.Cache]
    done: jax.Array


class Piece(NamedTuple):
    """Some tokens of N answers, T slots.

    Attributes:
      tokens: [N, T] int32; a row's first `count` [N] int32 of them count, its end token among them.
      logps: [N, T] float32, of the policy itself: without temperature and nucleus.
      likeliest, likeliest_logps: [N, T, K], the likeliest tokens of each place, where alternatives are wanted.
      done: [N] bool, answers that have ended; ended: [N] bool, those of them that were not cut off.
    """

    tokens: jax.Array
    logps: jax.Array
    likeliest: jax.Array
    likeliest_logps: jax.Array
    count: jax.Array
    done: jax.Array
    ended: jax.Array


def stacked_layers(params: dict, adapter: Adapter | None, *, dtype: DTypeLike) -> Layers:
    """The stacks of the decoder's layers. dtype: of the caches, which that of the adapter is to be."""
    weights = jax.tree.map(lambda t: t.astype(dtype), stack_of(adapter, "text"))
    return Layers(with_whole(params, adapter)["text"]["layers"], weights)


def one_layer(stacks: Layers, index: jax.Array) -> Layers:
    """A layer of stacks; index: int32 []."""
    return jax.tree.map(lambda t: jax.lax.dynamic_index_in_dim(t, index, keepdims=False), stacks)


def begin_answers(
    params: dict, adapter: Adapter | None, inputs: PromptInputs, *, config: ThinkerConfig, slots: int
) -> tuple[Asked, Answering]:
    """Runs the prompts once. slots: of the answers' first cache."""
    state = prefill(params, adapter, config, encode_prompts(params, adapter, config, inputs))
    caches, rows = state.cache, state.mask.shape[0]
    if decoder.unroll_layers():
        caches = [jax.tree.map(lambda t, i=i: t[i], state.cache) for i in range(len(state.cache.k))]
    empty = decoder.empty_cache(config.text, rows, slots, state.last.dtype)
    answering = Answering(jnp.int32(0), state.last, empty, jnp.zeros(rows, bool))
    return Asked(caches, state.mask, state.next_position), answering


def lengthen(answering: Answering, *, slots: int) -> Answering:
    """The same answers with room for more tokens."""
    return answering.replace(caches=decoder.grown(answering.caches, slots))


def continue_answers(
    params: dict,
    adapter: Adapter | None,
    layers: Layers,
    asked: Asked,
    answering: Answering,
    knobs: Knobs,
    *,
    config: ThinkerConfig,
    steps: int,
    likeliest: int,
) -> tuple[Answering, Piece]:
    """The next `steps` tokens of each answer, fewer where all have ended. likeliest: K, at each place."""
    text, rows = with_whole(params, adapter)["text"], answering.hidden.shape[0]
    scale, decoding = adapter.scale if adapter else 0.0, _decode_layers(layers, asked)
    keys = _keys(knobs)
    first = answering.slot

    def step(carry: tuple[Answering, Piece]) -> tuple[Answering, Piece]:
        state, out = carry
        at = state.slot - first
        logits = jnp.einsum("nd,vd->nv", state.hidden, decoder.head(text), preferred_element_type=jnp.float32)
        token = _draw(
            logits, knobs, jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, state.slot)))(keys)
        )
        logps = jax.nn.log_softmax(logits)
        best, best_ids = jax.lax.cond(
            knobs.alternatives,
            lambda: tuple(jax.lax.top_k(logps, likeliest)),
            lambda: (jnp.zeros((rows, likeliest)), jnp.zeros((rows, likeliest), jnp.int32)),
        )
        live = ~state.done
        stops = jnp.isin(token, jnp.array(config.stop_ids))
        out = Piece(
            out.tokens.at[:, at].set(jnp.where(live, token, config.pad_token_id)),
            out.logps.at[:, at].set(jnp.take_along_axis(logps, token[:, None], axis=-1)[:, 0]),
            out.likeliest.at[:, at].set(best_ids),
            out.likeliest_logps.at[:, at].set(best),
            out.count + live,
            out.done,
            out.ended | live & stops,
        )
        hidden, caches = decoder.decode_step(
            text,
            decoding,
            scale,
            config.text,
            text["embed_tokens"][token][:, None],
            asked.next_position + state.slot,
            state.slot,
            prompt_mask=asked.mask,
            caches=state.caches,
        )
        done = state.done | stops | (state.slot + 1 >= knobs.limit)
        return Answering(state.slot + 1, hidden[:, 0], caches, done), out

    begun = answering.replace(done=answering.done | knobs.stopped)
    answering, piece = jax.lax.while_loop(
        lambda carry: (carry[0].slot < first + steps) & ~carry[0].done.all(),
        step,
        (begun, _empty_piece(rows, steps, likeliest)),
    )
    return answering, piece._replace(done=answering.done)


def _decode_layers(layers: Layers, asked: Asked) -> decoder.DecodeLayer | list[decoder.DecodeLayer]:
    if not isinstance(layers.params, list):
        return decoder.DecodeLayer(layers.params, layers.adapter, asked.caches.k, asked.caches.v)
    return [
        decoder.DecodeLayer(params, adapter, cache.k, cache.v)
        for params, adapter, cache in zip(layers.params, layers.adapter, asked.caches, strict=True)
    ]


def _empty_piece(rows: int, steps: int, likeliest: int) -> Piece:
    tokens, more = jnp.zeros((rows, steps), jnp.int32), jnp.zeros((rows, steps, likeliest))
    none = jnp.zeros(rows, bool)
    return Piece(tokens, jnp.zeros((rows, steps)), more.astype(jnp.int32), more, jnp.zeros(rows, jnp.int32), none, none)


def _keys(knobs: Knobs) -> jax.Array:
    """Random keys [N]: of the seed, then of the answer."""
    return jax.vmap(lambda seed, answer: jax.random.fold_in(jax.random.key(seed), answer))(knobs.seed, knobs.answer)


def _draw(logits: jax.Array, knobs: Knobs, uniform: jax.Array) -> jax.Array:
    """One token [N] for each row: the likeliest at temperature 0, else one of the nucleus. logits: [N, V] float32."""
    tempered = logits / jnp.where(knobs.temperature > 0, knobs.temperature, 1.0)[:, None]
    cut = ((knobs.top_p < 1) & (knobs.temperature > 0)).any()
    tempered = jax.lax.cond(cut, lambda t: nucleus(t, knobs.top_p[:, None]), lambda t: t, tempered)
    return jnp.where(knobs.temperature > 0, pick(tempered, uniform), jnp.argmax(logits, axis=-1)).astype(jnp.int32)
