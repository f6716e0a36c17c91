"""Group sampling: G answers to each prompt from one prompt cache, in one jitted loop that stops when all have ended.

Noise is a function of (seed, step, use, prompt, answer, token) alone: not of the batch's layout, nor of what was
drawn before. Log-probabilities are those the learner uses: of the drawn token under the tempered distribution,
before any truncation by top-k, top-p or min-p.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from emsa_jax.policy import decoder
from emsa_jax.policy.lora import Adapter, with_whole
from emsa_jax.policy.thinker import Prompts
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.draw import draw
from emsa_jax.rollout.rollout_options import SamplingOptions

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Key

FIRST_CACHE = 256  # slots; below it, attending to empty ones costs less than another loop
ROLLOUT, HINT, PREFIX, EVALUATION = range(4)  # uses of noise: never the same for two of them


@struct.dataclass
class PromptState:
    """What a prompt leaves behind for its answers.

    Attributes:
      cache: keys and values, N rows of P slots.
      mask: [N, P] bool.
      last: [N, D], hidden state from which the first answer token is predicted.
      next_position: [3, N] int32.
    """

    cache: decoder.Cache
    mask: jax.Array
    last: jax.Array
    next_position: jax.Array

    def take(self, rows: jax.Array) -> PromptState:
        """The states of some prompts.

        rows: [B] int32, or [shards, B] int32, counted from the first prompt of each shard; then the result has
        shards * B states, and no shard reads what another one holds.
        """

        def at(array: jax.Array, axis: int) -> jax.Array:
            if rows.ndim == 1:
                return array[(slice(None),) * axis + (rows,)]
            cut = jnp.moveaxis(array, axis, 0)
            cut = cut.reshape(len(rows), -1, *cut.shape[1:])
            return jnp.moveaxis(jax.vmap(lambda t, r: t[r])(cut, rows).reshape(-1, *cut.shape[2:]), 0, axis)

        return PromptState(
            decoder.Cache(at(self.cache.k, 1), at(self.cache.v, 1)),
            at(self.mask, 0),
            at(self.last, 0),
            at(self.next_position, 1),
        )


@struct.dataclass
class Completions:
    """N prompts, G answers each, C slots.

    Attributes:
      tokens: [N, G, C] int32, the end token included, padding after it.
      logps: [N, G, C] float32, of each token given all before it, forced ones included; 0 after the end.
      length: [N, G] int32, tokens up to and with the end token.
      ended: [N, G] bool, False where the answer was cut off.
      forced: [N, G] int32, how many of the first tokens were given and not drawn.
    """

    tokens: jax.Array
    logps: jax.Array
    length: jax.Array
    ended: jax.Array
    forced: jax.Array


def prefill(params: dict, adapter: Adapter | None, config: ThinkerConfig, prompts: Prompts) -> PromptState:
    """Runs the prompts once, for all of their answers."""
    hidden, cache = decoder.forward(
        with_whole(params, adapter)["text"],
        adapter,
        config.text,
        prompts.x,
        jnp.moveaxis(prompts.positions, 1, 0),
        prompts.mask,
    )
    return PromptState(
        cache, prompts.mask, decoder.last_valid(hidden, prompts.mask), jnp.moveaxis(prompts.next_position, 1, 0)
    )


def cache_sizes(slots: int) -> tuple[int, ...]:
    """The cache's slots while answers grow, doubled until they hold `slots`; each size is a separate loop."""
    sizes = [slots]
    while sizes[0] > FIRST_CACHE:
        sizes.insert(0, -(-sizes[0] // 2))
    return tuple(sizes)


class _Decoding(NamedTuple):
    """What the decode loop carries: the next slot, the states that decide about it, and what has been drawn so far.

    Attributes:
      slot: int32 scalar.
      hidden: [N, G, D].
      caches: keys and values of the answers, see `decoder.empty_cache`.
      tokens: [N, G, C] int32; logps: [N, G, C] float32.
      done: [N, G] bool.
    """

    slot: jax.Array
    hidden: jax.Array
    caches: decoder.Cache | list[decoder.Cache]
    tokens: jax.Array
    logps: jax.Array
    done: jax.Array


def sample(
    params: dict,
    adapter: Adapter | None,
    config: ThinkerConfig,
    prompts: PromptState,
    *,
    options: SamplingOptions,
    group_size: int,
    slots: int,
    noise: Int[Array, " 3"],
    prompt_ids: Int[Array, " n"],
    forced: Int[Array, "n k"] | None = None,
    forced_length: Int[Array, " n"] | None = None,
    limit: Int[Array, " n"] | None = None,
    logp_temperature: float | None = None,
) -> Completions:
    """Draws `group_size` answers to each of N prompts.

    Args:
      slots: C, answer slots (static).
      noise: int32 [3], (seed, step, use).
      prompt_ids: [N] int32, which prompt of the step each row is: the noise depends on it.
      forced: [N, K] int32, tokens that every answer of a prompt must begin with, of which the first
        `forced_length` [N] int32 count (default: nothing is forced).
      limit: [N] int32, tokens after which an answer is cut off, at most `slots` (default: `slots`).
      logp_temperature: of the distribution whose log-probabilities are reported (default: the one drawn from).
    """
    text, rows, scale = with_whole(params, adapter)["text"], prompts.mask.shape[0], adapter.scale if adapter else 0.0
    if forced is None:
        forced, forced_length = jnp.zeros((rows, 1), jnp.int32), jnp.zeros(rows, jnp.int32)
    if limit is None:
        limit = jnp.full(rows, slots, jnp.int32)
    layers = decoder.decode_layers(text, adapter, prompts.cache)
    keys = _answer_keys(noise, prompt_ids, group_size)
    forced = jnp.pad(forced, ((0, 0), (0, max(slots - forced.shape[1], 0))))[:, :slots]

    def step(state: _Decoding) -> _Decoding:
        t, hidden, caches, tokens, logps, done = state
        logits = jnp.einsum("ngd,vd->ngv", hidden, decoder.head(text), preferred_element_type=jnp.float32)
        uniform = jax.vmap(jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, t))))(keys)
        token = draw(options, logits, uniform, t, config.stop_ids)
        is_forced = t < forced_length
        token = jnp.where(is_forced[:, None], forced[:, t][:, None], token)
        logp = jax.nn.log_softmax(logits / (logp_temperature or options.divisor))
        logp = jnp.take_along_axis(logp, token[..., None], axis=-1)[..., 0]
        tokens = tokens.at[:, :, t].set(jnp.where(done, config.pad_token_id, token))
        logps = logps.at[:, :, t].set(jnp.where(done, 0.0, logp))
        done = done | (_is_stop(config, token) & ~is_forced[:, None]) | (t + 1 >= limit)[:, None]
        x, positions = text["embed_tokens"][token], prompts.next_position + t
        hidden, caches = decoder.decode_step(
            text, layers, scale, config.text, x, positions, t, prompt_mask=prompts.mask, caches=caches
        )
        return _Decoding(t + 1, hidden, caches, tokens, logps, done)

    state = _first_state(config, prompts, group_size, slots)
    for size in cache_sizes(slots):
        state = jax.lax.while_loop(
            lambda state, size=size: (state.slot < size) & ~state.done.all(),
            step,
            state._replace(caches=decoder.grown(state.caches, size)),
        )
    return _completions(config, state.tokens, state.logps, forced_length, limit)


def _answer_keys(noise: Int[Array, " 3"], prompt_ids: Int[Array, " n"], group_size: int) -> Key[Array, "n g"]:
    """Random keys [N, G]: of (seed, step, use), then of the prompt, then of the answer."""
    key = jax.random.key(noise[0])
    key = jax.random.fold_in(jax.random.fold_in(key, noise[1]), noise[2])
    fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return jax.vmap(lambda k: fold(k, jnp.arange(group_size)))(fold(key, prompt_ids))


def _first_state(config: ThinkerConfig, prompts: PromptState, group_size: int, slots: int) -> _Decoding:
    """Before the first token: nothing drawn, the prompt's last state for every answer, caches of the smallest size."""
    shape = (prompts.mask.shape[0], group_size)
    return _Decoding(
        slot=jnp.int32(0),
        hidden=jnp.broadcast_to(prompts.last[:, None], (*shape, prompts.last.shape[-1])),
        caches=decoder.empty_cache(config.text, shape[0] * group_size, cache_sizes(slots)[0], prompts.last.dtype),
        tokens=jnp.full((*shape, slots), config.pad_token_id, jnp.int32),
        logps=jnp.zeros((*shape, slots)),
        done=jnp.zeros(shape, bool),
    )


def _is_stop(config: ThinkerConfig, tokens: jax.Array) -> jax.Array:
    """Which tokens end an answer: any of the policy's stop ids."""
    return jnp.isin(tokens, jnp.array(config.stop_ids))


def _completions(
    config: ThinkerConfig,
    tokens: Int[Array, "n g c"],
    logps: Float[Array, "n g c"],
    forced_length: Int[Array, " n"],
    limit: Int[Array, " n"],
) -> Completions:
    """Where the answers end: at the first end token that was drawn, else at their limit."""
    slot = jnp.arange(tokens.shape[-1])
    drawn = (slot >= forced_length[:, None]) & (slot < limit[:, None])  # padding may look like the end token
    at_end = _is_stop(config, tokens) & drawn[:, None]
    ended = at_end.any(-1)
    length = jnp.where(ended, jnp.argmax(at_end, axis=-1) + 1, limit[:, None])
    forced = jnp.broadcast_to(forced_length[:, None], ended.shape)
    return Completions(tokens, logps, length.astype(jnp.int32), ended, forced.astype(jnp.int32))
