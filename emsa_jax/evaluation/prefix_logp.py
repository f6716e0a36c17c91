"""How likely a policy finds the true polarity of clips before any hint: what hints change, measured without them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.answers.answer_options import LabelOptions
from emsa_jax.evaluation.evaluation_options import EvaluateOptions
from emsa_jax.policy.inputs import PromptInputs, abstract_inputs
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rollout.answering import asked_clips
from emsa_jax.rollout.hints import Hints
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.rollout_options import HintOptions, SamplingOptions
from emsa_jax.rollout.sampler import PREFIX, prefill, sample
from emsa_jax.runtime.programs import Programs
from emsa_jax.training.training_options import GrpoOptions


@dataclass(frozen=True, kw_only=True)
class PrefixSettings:
    """The options of a run that this measurement reads."""

    labels: LabelOptions
    sampling: SamplingOptions
    reward: RewardOptions
    hint: HintOptions
    grpo: GrpoOptions
    evaluate: EvaluateOptions


def prefix_logps(settings: PrefixSettings, split: Split, adapter: Adapter | None, members: list[int]) -> np.ndarray:
    """[len(members)] natural logarithms: of the true polarity's name where answers begin with it, summed over its
    tokens, tags left out; nan where the format has none."""
    checkpoint = split.prompter.checkpoint
    hints = Hints.of(
        settings.hint,
        checkpoint,
        split,
        max_completion_length=settings.sampling.max_completion_length,
        prompts=settings.grpo.prompts_per_step,
    )
    found = np.full(len(members), np.nan)
    if not members or not hints.lengths.any():
        return found
    programs, place = Programs(), {index: i for i, index in enumerate(members)}
    function = functools.partial(_forced, config=checkpoint.config, sampling=settings.sampling)
    for bucket, asked in asked_clips(split, settings.evaluate.batch_size, members=members).items():
        size = asked.rows
        program = programs.add(
            "prefix",
            function,
            checkpoint.params,
            adapter,
            abstract_inputs(checkpoint.config, asked.shape, size),
            *hints.forced_like(size),
            label=f"prefix/{bucket}",
        )
        for start in range(0, len(asked.indices), size):
            some = asked.indices[start : start + size].tolist()
            clips = [split[i] for i in some]
            forced, lengths = hints.forced([*clips, *[clips[0]] * (size - len(clips))])
            inputs = split.prompter.inputs(clips, asked.shape, size)
            logps = jax.device_get(program(checkpoint.params, adapter, inputs, forced, lengths))
            found[[place[i] for i in some]] = hints.label_logp(clips, logps[: len(clips)])
    return found


def _forced(
    base: dict,
    adapter: Adapter | None,
    inputs: PromptInputs,
    forced: jax.Array,
    lengths: jax.Array,
    *,
    config: ThinkerConfig,
    sampling: SamplingOptions,
) -> jax.Array:
    """[N, K] log-probabilities of forced tokens."""
    rows, width = forced.shape
    state = prefill(base, adapter, config, encode_prompts(base, adapter, config, inputs))
    return sample(
        base,
        adapter,
        config,
        state,
        options=sampling,
        group_size=1,
        slots=width,
        noise=jnp.array([0, 0, PREFIX], jnp.int32),
        prompt_ids=jnp.arange(rows, dtype=jnp.int32),
        forced=forced,
        forced_length=lengths,
        limit=jnp.maximum(lengths, 1),
    ).logps[:, 0]
