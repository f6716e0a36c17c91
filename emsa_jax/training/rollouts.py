"""Rollouts: G answers to each prompt, hinted ones where all of them fail, and what they earn."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from emsa_jax.answers.answer_format import AnswerFormat, Truth
from emsa_jax.answers.claim_truth import claims_of
from emsa_jax.answers.claims import supported
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.rewards.score_answers import AnswerScorer, RewardTable
from emsa_jax.rewards.trigger import Trigger
from emsa_jax.rollout.expected_scores import ScoreTree, expected_scores, pack_said, said_before_scores
from emsa_jax.rollout.hints import FIELDS, Hints, Redraw, apply_hints
from emsa_jax.rollout.prompts import answer_texts
from emsa_jax.rollout.sampler import HINT, PREFIX, ROLLOUT, Completions, PromptState
from emsa_jax.runtime.clock import Clock
from emsa_jax.training.step import GrpoStep

Texts = list[list[str]]  # [N][G]


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """Answers before hints ("first") and after them ("final"), and their rewards. Host arrays; N prompts of this
    process, G answers.

    hard: [N] bool, groups that failed. hinted: [N] bool, groups that were sampled again. failed: [N] bool, hinted
    groups that failed once more. prefix_logp: [N], log-probability of the true polarity's name, without tags; nan where
    the format has none.
    """

    first: Completions
    first_texts: Texts
    first_table: RewardTable
    final: Completions
    final_texts: Texts
    final_table: RewardTable
    hard: np.ndarray
    hinted: np.ndarray
    failed: np.ndarray
    prefix_logp: np.ndarray

    @property
    def replaced(self) -> np.ndarray:
        """bool [N]: groups with hinted answers among those that are learned from."""
        return (np.asarray(self.final.forced) > 0).any(axis=1)


@dataclass(frozen=True, kw_only=True)
class RolloutTools:
    """What the rollouts of all steps have in common. seed: of the run. tree: of the scores that the reward expects;
    None where it is for the scores that answers have."""

    seed: int
    checkpoint: Checkpoint
    hints: Hints
    score_answers: AnswerScorer
    trigger: Trigger
    sharding: BatchSharding
    clock: Clock
    tree: ScoreTree | None = None

    def noise(self, step: int, use: int) -> np.ndarray:
        """int32 [3], which every random number of one use at one step follows from."""
        return np.array([self.seed, step, use], np.int32)


def sample_with_hints(
    programs: GrpoStep, adapter: Any, cache: PromptState, clips: Sequence, *, step: int, tools: RolloutTools
) -> Rollout:
    """G answers to each prompt; where all of them fail, new ones after the true polarity from the same cache.

    clips: of this process, whose prompts are in the cache. step: counted from 0."""
    hints, sharding, clock = tools.hints, tools.sharding, tools.clock
    ids = np.array(sharding.local_rows(hints.prompts), np.int32)
    limit = np.full(len(clips), hints.slots, np.int32)
    drawn = clock.run("decode", programs.sample, adapter, cache, tools.noise(step, ROLLOUT), ids, limit)
    first = sharding.fetch(drawn)
    prefix = programs.prefix(adapter, cache, tools.noise(step, PREFIX), *hints.forced(clips))
    with clock.phase("reward"):  # while the device computes the prefixes
        texts = answer_texts(tools.checkpoint, first, len(clips))
        expected = expect(programs, adapter, cache, texts, tools)
        table = tools.score_answers(clips, texts, first.ended, expected=expected)
    prefix = sharding.fetch(clock.run("hint", jax.block_until_ready, prefix))
    none = np.zeros(len(clips), bool)
    rollout = Rollout(
        first=first,
        first_texts=texts,
        first_table=table,
        final=first,
        final_texts=texts,
        final_table=table,
        hard=tools.trigger.hard(table, first.ended),
        hinted=none,
        failed=none,
        prefix_logp=hints.label_logp(clips, prefix),
    )
    redraw = hints.redraw(clips, rollout.hard, sharding)
    if redraw is None:
        return rollout
    program, noise = programs.hint[redraw.size], tools.noise(step, HINT)
    again = clock.run("hint", program, adapter, cache, noise, *redraw.arguments)
    with clock.phase("reward"):
        hinted = functools.partial(expect, programs, adapter, cache)
        return with_hinted_answers(rollout, sharding.fetch(again), redraw, clips, tools, hinted)


def expect(
    programs: GrpoStep, adapter: Any, cache: PromptState, texts: Texts, tools: RolloutTools
) -> np.ndarray | None:
    """[N, G]: the expected scores of answers, nan where one has no place for a score; None where none is rewarded."""
    if programs.ends is None:
        return None
    said = said_before_scores(tools.checkpoint, tools.score_answers.format, texts)
    slots, answers = programs.ends.arguments[-2].shape[2], len(texts[0])
    logps = tools.sharding.fetch(programs.ends(adapter, cache, *pack_said(said, slots, len(texts), answers)))
    return expected_scores(tools.tree, logps, said, slots)


def with_hinted_answers(
    rollout: Rollout,
    again: Completions,
    redraw: Redraw,
    clips: Sequence,
    tools: RolloutTools,
    expect: Callable[[Texts, RolloutTools], np.ndarray | None],
) -> Rollout:
    """The rollout with the new answers in place of those of the prompts that were sampled again, and their rewards.

    expect: texts of all answers -> their expected scores, or None."""
    options, rows, format = tools.hints.options, redraw.rows, tools.score_answers.format
    final = apply_hints(rollout.first, again, rows, redraw.source)
    texts = list(rollout.first_texts)
    changed = answer_texts(tools.checkpoint, jax.tree.map(lambda t: t[rows], final), len(rows))
    for row, group in zip(rows, changed, strict=True):
        texts[row] = group
    if options.keep == "consistent":
        final, texts = without_inconsistent(rollout, final, texts, [format.truth(clip) for clip in clips], format)
    unpaid = None if options.count_polarity_reward else final.forced > 0
    expected = expect(texts, tools)
    score = functools.partial(
        tools.score_answers, clips, texts, final.ended, expected=expected, hinted=final.forced > 0
    )
    table = score(unpaid=unpaid)
    all_paid = table if unpaid is None else score()
    failed, hinted = np.zeros((2, len(clips)), bool)
    failed[rows] = tools.trigger.hard(all_paid, final.ended, fraction=1.0)[rows]
    hinted[rows] = True
    return replace(rollout, final=final, final_texts=texts, final_table=table, hinted=hinted, failed=failed)


def without_inconsistent(
    rollout: Rollout, final: Completions, texts: Texts, truths: Sequence[Truth | None], format: AnswerFormat
) -> tuple[Completions, Texts]:
    """(completions, texts) in which hinted answers whose evidence does not support the polarity that they were given
    have given their places back to the answers of before."""
    back = np.array(final.forced > 0)
    for n, g in np.argwhere(back):
        truth = truths[n]
        back[n, g] = truth is None or supported(claims_of(format.parse(texts[n][g]))) != truth.polarity
    mixed = {name: np.array(getattr(final, name)) for name in FIELDS}
    for name, value in mixed.items():
        value[back] = np.asarray(getattr(rollout.first, name))[back]
    kept = [
        [rollout.first_texts[n][g] if back[n, g] else text for g, text in enumerate(group)]
        for n, group in enumerate(texts)
    ]
    return Completions(**mixed), kept
