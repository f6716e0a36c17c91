"""The compiled programs of a GRPO step, as the benchmarks of speed time them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from emsa_jax.learning.advantages import advantages
from emsa_jax.learning.grpo_update import GrpoBatch, grpo_update
from emsa_jax.learning.learning_options import AdvOptions, LossOptions
from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.rollout_options import MeasuredSampling
from emsa_jax.rollout.sampler import Completions, prefill, sample


class StepPrograms(NamedTuple):
    """begin: (base, adapter, inputs) -> (prompts, their cache). decode: (base, adapter, cache, noise) -> Completions.
    reference: (base, prompts, tokens) -> log-probabilities. update: (state, base, prompts, inputs, examples) -> (state,
    metrics); the state given is used up."""

    begin: Callable
    decode: Callable
    reference: Callable
    update: Callable


def step_programs(
    config: ThinkerConfig,
    optimizer: optax.GradientTransformation,
    *,
    group_size: int,
    new: int,
    suppress_tokens: tuple[int, ...] = (),
    micro_batches: int = 1,
    remat: str = "none",
) -> StepPrograms:
    """The programs for answers of `new` forced tokens, `group_size` to each prompt."""
    sampling = MeasuredSampling(max_completion_length=new, min_new_tokens=new, suppress_tokens=suppress_tokens)

    @jax.jit
    def begin(base, adapter, inputs):
        prompts = encode_prompts(base, adapter, config, inputs)
        return prompts, prefill(base, adapter, config, prompts)

    @jax.jit
    def decode(base, adapter, cache, noise):
        ids = jnp.arange(len(cache.mask), dtype=jnp.int32)
        options = dict(options=sampling, group_size=group_size, slots=new, noise=noise, prompt_ids=ids)
        return sample(base, adapter, config, cache, **options)

    reference = jax.jit(lambda base, prompts, tokens: group_logprobs(base, None, config, prompts, tokens)[0])
    update = jax.jit(
        functools.partial(
            grpo_update,
            config=config,
            options=LossOptions("grpo", beta=0.04),
            optimizer=optimizer,
            temperature=1.0,
            max_completion_length=new,
            micro_batches=micro_batches,
            remat=remat,
        ),
        donate_argnums=0,
    )
    return StepPrograms(begin, decode, reference, update)


def examples(answers: Completions, reference: Any) -> GrpoBatch:
    """What an update learns from answers, rewarded by their tokens' mean modulo 7."""
    n, g, c = answers.tokens.shape
    of_answers = advantages((np.asarray(answers.tokens) % 7).mean(-1), AdvOptions())
    return GrpoBatch(
        tokens=answers.tokens,
        mask=np.ones((n, g, c), bool),
        sampler_logps=answers.logps,
        ref_logps=reference,
        advantages=of_answers.values.astype(np.float32),
        weights=np.ones((n, g), np.float32),
        counted=np.ones((n, g), bool),
        zero_std=np.zeros((n, g), bool),
    )
