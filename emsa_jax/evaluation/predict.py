"""Answers of a policy to every clip of a split, and what they are worth."""
from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.answers.labels import polarity_of
from emsa_jax.evaluation.classes import class_fields
from emsa_jax.evaluation.metrics import family_of, floors, regression_metrics
from emsa_jax.policy.config import ThinkerConfig
from emsa_jax.policy.inputs import Budget
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.rewards.options import RewardOptions
from emsa_jax.rewards.table import RewardTable, batch_rewards, sample_of
from emsa_jax.rollout.draw import SamplingOptions
from emsa_jax.rollout.prompts import answer_text
from emsa_jax.rollout.sampler import EVALUATION, Completions, prefill, sample


def answer(base: dict, adapter, inputs, noise: jax.Array, prompt_ids: jax.Array, *, config: ThinkerConfig,
           sampling: SamplingOptions, group_size: int) -> Completions:
    """Prompts to completions in one program: encode, prefill, sample. Never with a hint."""
    rows, slots = inputs.tokens.shape[0], sampling.max_completion_length
    state = prefill(base, adapter, config, encode_prompts(base, adapter, config, inputs))
    none = jnp.zeros((rows, 1), jnp.int32)
    return sample(base, adapter, config, sampling, slots, group_size, state, noise, prompt_ids, none,
                  jnp.zeros(rows, jnp.int32), jnp.full(rows, slots, jnp.int32))


def compile_answers(programs, name: str, base, adapter, checkpoint, prompter, budgets: Mapping[int, Budget],
                    batch_size: int, sampling: SamplingOptions, group_size: int) -> None:
    """Adds "<name>/<bucket>" for each prompt length to `programs` (see jobs.programs)."""
    function = functools.partial(answer, config=checkpoint.config, sampling=sampling, group_size=group_size)
    for bucket, budget in budgets.items():
        inputs = abstract_inputs(prompter, budget, batch_size)
        programs.add(f"{name}/{bucket}", function, base, adapter, inputs, np.zeros(3, np.int32),
                     np.zeros(batch_size, np.int32))


def abstract_inputs(prompter, budget: Budget, batch_size: int):
    """A batch of empty prompts of a budget's size: for compiling."""
    from emsa_jax.policy.inputs import Row, build_inputs

    return build_inputs(prompter.checkpoint.config, [Row([0])] * batch_size, budget)


def predict(split, run: Callable[[int, Any, np.ndarray, np.ndarray], Completions], batch_size: int, seed: int
            ) -> Iterator[tuple[list[int], list[list[str]], np.ndarray]]:
    """Asks about every clip of a split.

    Args:
      split: jobs.datasets.Split (entries, lengths, budgets, clips by index).
      run: (bucket, inputs, noise, prompt_ids) -> Completions.

    Yields:
      (indices into the split, texts[n][g], ended [n, g]) batch by batch; each index once.
    """
    budgets, checkpoint = split.budgets(batch_size), split.prompter.checkpoint
    edges = np.array(split.buckets())
    bucket_of = edges[np.searchsorted(edges, split.lengths)]
    for bucket in split.buckets():
        members = np.flatnonzero(bucket_of == bucket)
        for start in range(0, len(members), batch_size):
            indices = members[start:start + batch_size].tolist()
            inputs = split.prompter.inputs([split[i] for i in indices], budgets[bucket], batch_size)
            ids = np.array(indices + [0] * (batch_size - len(indices)), np.int32)
            done = jax.device_get(run(bucket, inputs, np.array([seed, 0, EVALUATION], np.int32), ids))
            yield indices, texts_of(checkpoint, done, len(indices)), done.ended[: len(indices)]


def texts_of(checkpoint, done: Completions, rows: int) -> list[list[str]]:
    """The answers as text, [rows][G]."""
    return [[answer_text(checkpoint, done.tokens[n, g, : done.length[n, g]], bool(done.ended[n, g]))
             for g in range(done.tokens.shape[1])] for n in range(rows)]


def judge(format, clips, texts: Sequence[Sequence[str]], ended: np.ndarray, options: RewardOptions, plugins,
          neutral_eps: float, uncounted_polarity: np.ndarray | None = None, told: Sequence[str] = ("polarity",),
          balance: Mapping[str, float] | None = None) -> RewardTable:
    """Rewards of texts[n][g], ended[n, g] or cut off, to clips[n] (Clip or Entry); the rest as `batch_rewards`."""
    samples = [sample_of(clip) for clip in clips]
    return batch_rewards(texts, samples, format, options, plugins, neutral_eps, uncounted_polarity, ~ended, told,
                         balance)


def prediction_rows(split, indices: Sequence[int], texts: Sequence[Sequence[str]], table: RewardTable,
                    neutral_eps: float) -> list[dict]:
    """One row a clip for the file of predictions: the first answer, read and judged."""
    rows = []
    for n, i in enumerate(indices):
        entry, parsed = split.entries[i], table.parsed[n][0]
        rows.append({
            "id": entry.id, "text": entry.text, "target": entry.score,
            "target_polarity": None if entry.score is None else polarity_of(entry.score, neutral_eps),
            "polarity": parsed.polarity, "score": parsed.score, "think": parsed.think,
            "well_formed": parsed.well_formed, "notes": list(parsed.notes), "answer": texts[n][0],
            **class_fields(split.prompter.format, entry, parsed),
            "rewards": {name: _number(part[n, 0]) for name, part in table.parts.items()} | {
                "total": _number(table.total[n, 0])}})
    return rows


def summarize(rows: Sequence[dict], score_range: tuple[float, float], fallback: str, neutral_eps: float,
              train_scores: Sequence[float]) -> dict:
    """The metrics of predictions (data sets' own definitions), the mean reward, and the constant-mean floor."""
    known = [row for row in rows if row["target"] is not None]
    result = {"clips": len(rows), "format_rate": float(np.mean([row["well_formed"] for row in rows])),
              "metrics": None, "rewards": None, "floor": None}
    if not known:  # clips without labels: answers are written, nothing can be measured
        return result
    family = family_of(score_range)
    truth = np.array([row["target"] for row in known], np.float32)
    result["metrics"] = regression_metrics([row["score"] for row in known], truth, family, fallback,
                                           polarities=[row["polarity"] for row in known], neutral_eps=neutral_eps)
    result["rewards"] = {name: _mean([row["rewards"][name] for row in known]) for name in known[0]["rewards"]}
    if len(train_scores):
        result["floor"] = floors(np.asarray(train_scores, np.float32), truth, family)
    return result


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]  # a part of the user's own need not apply to all
    return float(np.mean(found)) if found else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
