"""Examples: what an update of GRPO learns from, made of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from emsa_jax.learning.advantages import Advantages, advantages
from emsa_jax.learning.grpo_update import GrpoBatch
from emsa_jax.learning.learning_options import AdvOptions, LossOptions
from emsa_jax.learning.packing import Packing, pack_rows
from emsa_jax.parallel.batch_sharding import SINGLE_PROCESS, BatchSharding
from emsa_jax.rollout.hints import Hints, loss_mask
from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.runtime.clock import Clock
from emsa_jax.training.rollouts import Rollout
from emsa_jax.training.step import GrpoStep
from emsa_jax.training.training_options import GrpoOptions


@dataclass(frozen=True, kw_only=True)
class ExampleOptions:
    """What decides how examples are made."""

    grpo: GrpoOptions
    hint: HintOptions
    adv: AdvOptions
    loss: LossOptions


def make_examples(
    rollout: Rollout,
    clips: Sequence,
    options: ExampleOptions,
    hints: Hints,
    sharding: BatchSharding = SINGLE_PROCESS,
) -> GrpoBatch:
    """Advantages, masks and weights of a rollout. Log-probabilities of other policies are added by `with_reference`."""
    hint, final = options.hint, rollout.final
    n, g, _ = final.tokens.shape
    adv = _advantages(rollout, options, sharding)
    dropped = rollout.hard if hint.mode == "drop_hard" else np.zeros(n, bool)
    nll_tokens = nll_mask = None
    if hint.polarity_nll:
        nll_tokens, lengths = hints.forced(clips)
        asked = rollout.hard if hint.polarity_nll_scope == "hard" else np.ones(n, bool)
        nll_mask = (np.arange(nll_tokens.shape[1]) < lengths[:, None]) & asked[:, None]
    return GrpoBatch(
        tokens=final.tokens,
        mask=loss_mask(final, hint),
        sampler_logps=final.logps,
        advantages=adv.values.astype(np.float32),
        weights=np.ones((n, g), np.float32),
        counted=~dropped[:, None] & (final.ended | (not options.loss.mask_truncated_completions)),
        zero_std=np.array(np.broadcast_to(adv.zero_std[:, None], (n, g))),
        nll_tokens=nll_tokens,
        nll_mask=nll_mask,
        packing=_packing(rollout, options.grpo, sharding) if options.grpo.answer_rows else None,
    )


def num_rows(examples: GrpoBatch) -> int:
    """The number of rows that the answers of each prompt take, by which the programs that learn are chosen."""
    return examples.tokens.shape[1] if examples.packing is None else examples.packing.source.shape[1]


def with_reference(
    step: GrpoStep,
    examples: GrpoBatch,
    inputs: Any,
    prompts: Any,
    *,
    adapter: Any,
    options: ExampleOptions,
    sharding: BatchSharding,
    clock: Clock,
) -> GrpoBatch:
    """The examples with the log-probabilities of the reference, and of the sampling policy where they are needed.

    inputs, prompts: of the step, before and after they were encoded. adapter: of the policy that sampled."""
    rows, answers = num_rows(examples), (inputs, prompts, examples.tokens, examples.packing)
    if options.loss.beta > 0:
        logps, _ = clock.run("reference", step.reference[rows], *answers)
        examples = examples.replace(ref_logps=logps)
    quantile = options.loss.top_entropy_quantile
    if options.grpo.num_iterations > 1 or quantile < 1:
        logps, entropies = clock.run("old", step.old[rows], adapter, *answers)
        if options.grpo.num_iterations > 1:
            examples = examples.replace(old_logps=logps)
        if quantile < 1:
            valid = examples.mask & examples.counted[..., None]
            values = sharding.all_gather(sharding.fetch(entropies)[valid], "entropies")
            values = values if len(values) else np.zeros(1)
            threshold = np.quantile(values, 1 - quantile)  # on the host: nothing compiles here
            examples = examples.replace(threshold=np.float32(threshold))
    return examples


def _advantages(rollout: Rollout, options: ExampleOptions, sharding: BatchSharding) -> Advantages:
    rewards = rollout.final_table.total
    if options.adv.scale != "batch":
        return advantages(rewards, options.adv)
    rows = sharding.local_rows(len(rollout.hard) * sharding.groups)  # the batch is that of all processes
    whole = advantages(sharding.all_gather(rewards, "rewards"), options.adv)
    return Advantages(*(part[rows.start : rows.stop] for part in whole))


def _packing(rollout: Rollout, options: GrpoOptions, sharding: BatchSharding) -> Packing:
    """Where the answers of this process's prompts lie: in as many rows as on every process."""
    rows = sharding.local_rows(len(rollout.hard) * sharding.groups)
    lengths, slots = sharding.all_gather(rollout.final.length, "lengths"), rollout.final.tokens.shape[2]
    return jax.tree.map(lambda t: t[rows.start : rows.stop], pack_rows(lengths, slots, options.row_sizes))
