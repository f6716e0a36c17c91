"""Group sampling: G answers to each prompt from one prompt cache, in one jitted loop that stops when all have ended.

Noise is a function of (seed, step, use, prompt, answer, token) alone: not of the batch's layout, nor of what was
drawn before. Log-probabilities are those the learner uses: of the drawn token under the tempered distribution,
before any truncation by top-k, top-p or min-p.
"""
from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from emsa_jax.errors import InputError
from emsa_jax.policy import decoder
from emsa_jax.policy.config import ThinkerConfig
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.thinker import Prompts

ROLLOUT, HINT, PREFIX, EVALUATION = range(4)  # uses of noise: never the same for two of them


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are drawn. top_k 0, top_p 1 and min_p 0 leave the distribution whole; greedy takes the likeliest.

    min_new_tokens: before so many, the end token is not drawn. suppress_tokens: ids that are never drawn. Neither
    changes the log-probabilities that are reported."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    greedy: bool = False
    max_completion_length: int = 512
    min_new_tokens: int = 0
    suppress_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise InputError(f"sampling.temperature must be positive, not {self.temperature}; use greedy for 0")
        if not 0 < self.top_p <= 1 or not 0 <= self.min_p < 1 or self.top_k < 0:
            raise InputError("sampling: top_p must be in (0, 1], min_p in [0, 1), top_k at least 0")
        if self.max_completion_length < 1:
            raise InputError("sampling.max_completion_length must be at least 1")
        if not 0 <= self.min_new_tokens <= self.max_completion_length:
            raise InputError(f"sampling.min_new_tokens must be between 0 and max_completion_length, not "
                             f"{self.min_new_tokens}")
        if any(token < 0 for token in self.suppress_tokens):
            raise InputError("sampling.suppress_tokens must be token ids, none below 0")


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
        """The states of some prompts: rows [B] int32."""
        cache = decoder.Cache(self.cache.k[:, rows], self.cache.v[:, rows])
        return PromptState(cache, self.mask[rows], self.last[rows], self.next_position[:, rows])


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
    hidden, cache = decoder.forward(params["text"], adapter, config.text, prompts.x,
                                    jnp.moveaxis(prompts.positions, 1, 0), prompts.mask)
    return PromptState(cache, prompts.mask, decoder.last_valid(hidden, prompts.mask),
                       jnp.moveaxis(prompts.next_position, 1, 0))


def sample(params: dict, adapter: Adapter | None, config: ThinkerConfig, options: SamplingOptions, slots: int,
           group_size: int, prompts: PromptState, noise: jax.Array, prompt_ids: jax.Array, forced: jax.Array,
           forced_length: jax.Array, limit: jax.Array, logp_temperature: float | None = None) -> Completions:
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
    text, rows = params["text"], prompts.mask.shape[0]
    key = jax.random.key(noise[0])
    key = jax.random.fold_in(jax.random.fold_in(key, noise[1]), noise[2])
    fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    keys = jax.vmap(lambda k: fold(k, jnp.arange(group_size)))(fold(key, prompt_ids))
    shape = (rows, group_size)
    padded = jnp.pad(forced, ((0, 0), (0, max(slots - forced.shape[1], 0))))[:, :slots]

    def unfinished(state):
        t, _, _, _, _, done = state
        return (t < slots) & ~done.all()

    def step(state):
        t, hidden, own, tokens, logps, done = state
        logits = jnp.einsum("ngd,vd->ngv", hidden, decoder.head(text), preferred_element_type=jnp.float32)
        allowed = _allowed(options, logits, t, config.eos_token_id)
        token = _choose(options, allowed, jax.vmap(jax.vmap(lambda k: jax.random.fold_in(k, t)))(keys))
        is_forced = t < forced_length
        token = jnp.where(is_forced[:, None], padded[:, t][:, None], token)
        logp = jax.nn.log_softmax(logits / (logp_temperature or options.temperature))
        logp = jnp.take_along_axis(logp, token[..., None], axis=-1)[..., 0]
        tokens = tokens.at[:, :, t].set(jnp.where(done, config.pad_token_id, token))
        logps = logps.at[:, :, t].set(jnp.where(done, 0.0, logp))
        done = done | ((token == config.eos_token_id) & ~is_forced[:, None]) | (t + 1 >= limit)[:, None]
        hidden, own = decoder.decode_step(text, adapter, config.text, text["embed_tokens"][token],
                                          prompts.next_position + t, t, prompts.cache, prompts.mask, own)
        return t + 1, hidden, own, tokens, logps, done

    own = decoder.empty_cache(config.text, rows * group_size, slots, prompts.last.dtype)
    start = (jnp.int32(0), jnp.broadcast_to(prompts.last[:, None], (*shape, prompts.last.shape[-1])), own,
             jnp.full((*shape, slots), config.pad_token_id, jnp.int32), jnp.zeros((*shape, slots)),
             jnp.zeros(shape, bool))
    _, _, _, tokens, logps, _ = jax.lax.while_loop(unfinished, step, start)
    slot = jnp.arange(slots)
    drawn = (slot >= forced_length[:, None]) & (slot < limit[:, None])  # padding may look like the end token
    at_end = (tokens == config.eos_token_id) & drawn[:, None]
    ended = at_end.any(-1)
    length = jnp.where(ended, jnp.argmax(at_end, axis=-1) + 1, limit[:, None])
    return Completions(tokens, logps, length.astype(jnp.int32), ended,
                       jnp.broadcast_to(forced_length[:, None], shape).astype(jnp.int32))


def _allowed(options: SamplingOptions, logits: jax.Array, t: jax.Array, eos: int) -> jax.Array:
    """Logits [..., V] with -inf for tokens that may not be drawn in slot t."""
    ids = jnp.arange(logits.shape[-1])
    if options.suppress_tokens:
        logits = jnp.where(jnp.isin(ids, jnp.array(options.suppress_tokens)), -jnp.inf, logits)
    if options.min_new_tokens:
        logits = jnp.where((ids == eos) & (t < options.min_new_tokens), -jnp.inf, logits)
    return logits


def _choose(options: SamplingOptions, logits: jax.Array, keys: jax.Array) -> jax.Array:
    """One token of each answer: logits [N, G, V], keys [N, G] -> [N, G] int32."""
    if options.greedy:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = truncate(logits / options.temperature, options)
    gumbel = jax.vmap(jax.vmap(lambda k: jax.random.gumbel(k, logits.shape[-1:])))(keys)
    return jnp.argmax(logits + gumbel, axis=-1).astype(jnp.int32)


def truncate(logits: jax.Array, options: SamplingOptions) -> jax.Array:
    """Sets what top-k, top-p or min-p rule out to -inf; the likeliest token always stays. logits: [..., V]."""
    if options.top_k:
        kth = jax.lax.top_k(logits, min(options.top_k, logits.shape[-1]))[0][..., -1:]
        logits = jnp.where(logits < kth, -jnp.inf, logits)
    if options.top_p < 1:
        ordered = -jnp.sort(-logits, axis=-1)
        probs = jax.nn.softmax(ordered, axis=-1)
        kept = jnp.cumsum(probs, axis=-1) - probs < options.top_p  # the mass before it is still short of top_p
        least = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
        logits = jnp.where(logits < least, -jnp.inf, logits)
    if options.min_p:
        best = jnp.max(logits, axis=-1, keepdims=True)
        logits = jnp.where(logits < best + jnp.log(options.min_p), -jnp.inf, logits)
    return logits
