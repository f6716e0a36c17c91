"""Group sampling: G answers to each prompt from one prompt cache, in one jitted loop that stops when all have ended.

Noise is a function of (seed, step, use, prompt, answer, token) alone: not of the batch's layout, nor of what was
drawn before. Log-probabilities are those the learner uses: of the drawn token under the tempered distribution,
before any truncation by top-k, top-p or min-p.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from emsa_jax.policy import decoder
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.thinker import Prompts
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.draw import draw
from emsa_jax.rollout.rollout_options import SamplingOptions

FIRST_CACHE = 256  # slots; below it, attending to empty ones costs less than another loop
ROLLOUT, HINT, PREFIX, EVALUATION = range(4)  # uses of noise: never the same for two of them


@struct.dataclass
class PromptState:
    """What a prompt leaves behind for its answers.

    Attributes:
      cache: keys and values, N rows of P slots.
      mask: [N, P] bool.
      last: [N, D], hidden state that judges the first answer token.
      next_position: [3, N] int32.
    """

    cache: decoder.Cache
    mask: jax.Array
    last: jax.Array
    next_position: jax.Array

    def take(self, rows: jax.Array) -> PromptState:
        """The states of some prompts: rows [B] int32, or [shards, B] counted from the first prompt of each equal part
        of them, which gives shards * B states; no shard needs what another holds."""

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
    """Runs the prompts once."""
    hidden, cache = decoder.forward(
        params["text"], adapter, config.text, prompts.x, jnp.moveaxis(prompts.positions, 1, 0), prompts.mask
    )
    return PromptState(
        cache, prompts.mask, decoder.last_valid(hidden, prompts.mask), jnp.moveaxis(prompts.next_position, 1, 0)
    )


def cache_sizes(slots: int) -> tuple[int, ...]:
    """Answer slots of the cache while answers grow: doubled until they hold `slots`; each size is a loop of its own."""
    sizes = [slots]
    while sizes[0] > FIRST_CACHE:
        sizes.insert(0, -(-sizes[0] // 2))
    return tuple(sizes)


def sample(
    params: dict,
    adapter: Adapter | None,
    config: ThinkerConfig,
    options: SamplingOptions,
    slots: int,
    group_size: int,
    prompts: PromptState,
    noise: jax.Array,
    prompt_ids: jax.Array,
    forced: jax.Array,
    forced_length: jax.Array,
    limit: jax.Array,
    logp_temperature: float | None = None,
) -> Completions:
    """Draws `group_size` answers to each prompt.

    Args:
      slots: C, answer slots (static).
      prompts: of N prompts.
      noise: int32 [3], (seed, step, use).
      prompt_ids: [N] int32, which prompt of the step each row is: noise follows it.
      forced: [N, K] int32, tokens that every answer of a prompt must begin with.
      forced_length: [N] int32, how many of them.
      limit: [N] int32, tokens after which an answer is cut off, at most `slots`.
      logp_temperature: of the distribution whose log-probabilities are reported (default: the one drawn from).
    """
    text, rows, scale = params["text"], prompts.mask.shape[0], adapter.scale if adapter else 0.0
    layers = decoder.decode_layers(text, adapter, prompts.cache)
    key = jax.random.key(noise[0])
    key = jax.random.fold_in(jax.random.fold_in(key, noise[1]), noise[2])
    fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    keys = jax.vmap(lambda k: fold(k, jnp.arange(group_size)))(fold(key, prompt_ids))
    shape = (rows, group_size)
    padded = jnp.pad(forced, ((0, 0), (0, max(slots - forced.shape[1], 0))))[:, :slots]

    def step(state):
        t, hidden, own, tokens, logps, done = state
        logits = jnp.einsum("ngd,vd->ngv", hidden, decoder.head(text), preferred_element_type=jnp.float32)
        uniform = jax.vmap(jax.vmap(lambda k: jax.random.uniform(jax.random.fold_in(k, t))))(keys)
        token = draw(options, logits, uniform, t, config.eos_token_id)
        is_forced = t < forced_length
        token = jnp.where(is_forced[:, None], padded[:, t][:, None], token)
        logp = jax.nn.log_softmax(logits / (logp_temperature or options.temperature))
        logp = jnp.take_along_axis(logp, token[..., None], axis=-1)[..., 0]
        tokens = tokens.at[:, :, t].set(jnp.where(done, config.pad_token_id, token))
        logps = logps.at[:, :, t].set(jnp.where(done, 0.0, logp))
        done = done | ((token == config.eos_token_id) & ~is_forced[:, None]) | (t + 1 >= limit)[:, None]
        hidden, own = decoder.decode_step(
            text,
            layers,
            scale,
            config.text,
            text["embed_tokens"][token],
            prompts.next_position + t,
            t,
            prompts.mask,
            own,
        )
        return t + 1, hidden, own, tokens, logps, done

    sizes = cache_sizes(slots)
    own = decoder.empty_cache(config.text, rows * group_size, sizes[0], prompts.last.dtype)
    state = (
        jnp.int32(0),
        jnp.broadcast_to(prompts.last[:, None], (*shape, prompts.last.shape[-1])),
        own,
        jnp.full((*shape, slots), config.pad_token_id, jnp.int32),
        jnp.zeros((*shape, slots)),
        jnp.zeros(shape, bool),
    )
    for size in sizes:
        t, hidden, own, *rest = state
        state = jax.lax.while_loop(
            lambda state, size=size: (state[0] < size) & ~state[-1].all(),
            step,
            (t, hidden, decoder.grown(own, size), *rest),
        )
    tokens, logps = state[3:5]
    slot = jnp.arange(slots)
    drawn = (slot >= forced_length[:, None]) & (slot < limit[:, None])  # padding may look like the end token
    at_end = (tokens == config.eos_token_id) & drawn[:, None]
    ended = at_end.any(-1)
    length = jnp.where(ended, jnp.argmax(at_end, axis=-1) + 1, limit[:, None])
    return Completions(
        tokens,
        logps,
        length.astype(jnp.int32),
        ended,
        jnp.broadcast_to(forced_length[:, None], shape).astype(jnp.int32),
    )
