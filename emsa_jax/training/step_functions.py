"""The functions that a GRPO step compiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import optax

from emsa_jax.learning.grpo_update import GrpoBatch, grpo_update
from emsa_jax.learning.learning_options import LossOptions
from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.learning.packing import Packing
from emsa_jax.policy.thinker import Prompts, encode_prompts
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.expected_scores import ScoreTree, end_logps
from emsa_jax.rollout.hints import prompt_rows
from emsa_jax.rollout.rollout_options import HintOptions, SamplingOptions
from emsa_jax.rollout.sampler import Completions, PromptState, prefill, sample
from emsa_jax.training.training_options import GrpoOptions


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What decides which programs a step has."""

    grpo: GrpoOptions
    sampling: SamplingOptions
    hint: HintOptions
    loss: LossOptions


@dataclass(frozen=True, kw_only=True, eq=False)
class StepFunctions:
    """The functions that a step compiles, of arrays alone. slots: C, of an answer. shards: parts of a batch on the
    mesh. media_adapted: whether an adapter changes how media are encoded. tree: of the scores that the reward
    expects, or None."""

    options: StepOptions
    policy: ThinkerConfig
    optimizer: optax.GradientTransformation
    slots: int
    shards: int
    media_adapted: bool
    tree: ScoreTree | None = None

    def encode(self, base: dict, adapter: Any, inputs: Any) -> Prompts:
        """Media and texts of the prompts, embedded."""
        return encode_prompts(base, adapter, config=self.policy, inputs=inputs)

    def prefill(self, base: dict, adapter: Any, prompts: Prompts) -> PromptState:
        """The cache that all answers to a prompt begin from."""
        return prefill(base, adapter, self.policy, prompts)

    def sample(
        self, base: dict, adapter: Any, cache: PromptState, noise: jax.Array, ids: jax.Array, limit: jax.Array
    ) -> Completions:
        """G answers to each prompt."""
        return sample(
            base,
            adapter,
            self.policy,
            cache,
            options=self.options.sampling,
            slots=self.slots,
            group_size=self.options.grpo.group_size,
            noise=noise,
            prompt_ids=ids,
            limit=limit,
        )

    def prefix(
        self,
        base: dict,
        adapter: Any,
        cache: PromptState,
        noise: jax.Array,
        forced: jax.Array,
        lengths: jax.Array,
    ) -> jax.Array:
        """[N, K]: how likely the policy finds the forced tokens of each prompt."""
        return sample(
            base,
            adapter,
            self.policy,
            cache,
            options=self.options.sampling,
            slots=forced.shape[1],
            group_size=1,
            noise=noise,
            prompt_ids=jnp.arange(self.options.grpo.prompts_per_step, dtype=jnp.int32),
            forced=forced,
            forced_length=lengths,
            limit=jnp.maximum(lengths, 1),
        ).logps[:, 0]

    def ends(self, base: dict, adapter: Any, cache: PromptState, said: jax.Array, length: jax.Array) -> jax.Array:
        """[N, G, K]: how likely answers end with each score after what they say before it."""
        return end_logps(base, adapter, self.policy, cache, said, length, tree=self.tree)

    def hint(
        self,
        base: dict,
        adapter: Any,
        cache: PromptState,
        noise: jax.Array,
        rows: jax.Array,
        forced: jax.Array,
        lengths: jax.Array,
        limit: jax.Array,
    ) -> Completions:
        """New answers, after the forced tokens, to some prompts of each shard."""
        options = self.options
        temperature = options.sampling.temperature
        rows, ids = prompt_rows(rows, options.grpo.prompts_per_step, self.shards)
        return sample(
            base,
            adapter,
            self.policy,
            cache.take(rows),
            options=replace(options.sampling, temperature=options.hint.temperature or temperature),
            slots=self.slots,
            group_size=options.hint.num_hinted(options.grpo.group_size),
            noise=noise,
            prompt_ids=ids,
            forced=forced,
            forced_length=lengths,
            limit=limit,
            logp_temperature=temperature,
        )

    def logprobs(
        self, base: dict, adapter: Any, inputs: Any, prompts: Prompts, tokens: jax.Array, packing: Packing | None
    ) -> tuple[jax.Array, jax.Array]:
        """(log-probabilities, entropies) of the answers' tokens, [N, G, C]."""
        if self.media_adapted:  # the prompts at hand were encoded by another adapter
            prompts = self.encode(base, adapter, inputs)
        temperature = self.options.sampling.temperature
        return group_logprobs(base, adapter, self.policy, prompts, tokens, temperature, packing=packing)

    def update(
        self, base: dict, state: Any, prompts: Prompts, inputs: Any, examples: GrpoBatch, *, remat: str
    ) -> tuple[Any, dict]:
        """One update of the adapter."""
        options = self.options
        return grpo_update(
            state,
            base,
            prompts,
            inputs,
            examples,
            config=self.policy,
            options=options.loss,
            optimizer=self.optimizer,
            temperature=options.sampling.temperature,
            max_completion_length=options.sampling.max_completion_length,
            nll_weight=options.hint.polarity_nll,
            micro_batches=options.grpo.micro_batches,
            remat=remat,
            shards=self.shards,
        )
