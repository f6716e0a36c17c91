"""Answers of a policy to every clip of a split."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from emsa_jax.parallel.batch_sharding import SINGLE_PROCESS, BatchSharding
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.prompts import answer_texts
from emsa_jax.rollout.rollout_options import SamplingOptions
from emsa_jax.rollout.sampler import EVALUATION, Completions, prefill, sample


def answer(
    base: dict,
    adapter,
    inputs,
    noise: jax.Array,
    prompt_ids: jax.Array,
    *,
    config: ThinkerConfig,
    sampling: SamplingOptions,
    group_size: int,
) -> Completions:
    """Prompts to completions in one program: encode, prefill, sample. Never with a hint."""
    state = prefill(base, adapter, config, encode_prompts(base, adapter, config, inputs))
    return sample(
        base,
        adapter,
        config,
        state,
        options=sampling,
        group_size=group_size,
        slots=sampling.max_completion_length,
        noise=noise,
        prompt_ids=prompt_ids,
    )


def compile_answers(
    programs,
    name: str,
    base,
    adapter,
    config: ThinkerConfig,
    *,
    inputs: Mapping[int, Any],
    sampling: SamplingOptions,
    group_size: int,
) -> dict[int, Callable[..., Completions]]:
    """Adds to `programs` (a `runtime.programs.Programs`) a program for each prompt length and its inputs' shapes.

    Returns: bucket -> (base, adapter, inputs, noise, prompt_ids) -> Completions."""
    function, compiled = functools.partial(answer, config=config, sampling=sampling, group_size=group_size), {}
    for bucket, shapes in inputs.items():
        rows = getattr(shapes.tokens, "sharding", None)
        ids = jax.ShapeDtypeStruct(shapes.tokens.shape[:1], np.int32, sharding=rows)
        arguments = (base, adapter, shapes, np.zeros(3, np.int32), ids)
        compiled[bucket] = programs.add(name, function, *arguments, label=f"{name}/{bucket}", out=rows)
    return compiled


def predict(
    split,
    run: Callable[[int, Any, np.ndarray, np.ndarray], Completions],
    batch_size: int,
    seed: int,
    sharding: BatchSharding = SINGLE_PROCESS,
    members: Sequence[int] | None = None,
) -> Iterator[tuple[list[int], list[list[str]], np.ndarray]]:
    """Asks about clips of a split, or about a process's share of every batch. What is answered does not depend on the
    batches: noise follows the clip's index.

    Args:
      split: jobs.datasets.Split (entries, lengths, budgets, clips by index).
      run: (bucket, inputs, noise, prompt_ids) -> Completions.
      members: indices of the clips to ask about (default: all).

    Yields:
      (indices into the split, texts[n][g], ended [n, g]) batch by batch; each index once. As many batches on every
      process; the last of a bucket may have no clip of this one's.
    """
    budgets, checkpoint = split.input_shapes(batch_size // sharding.num_shards), split.prompter.checkpoint
    local = sharding.local_rows(batch_size)
    edges = np.array(split.buckets())
    bucket_of = edges[np.searchsorted(edges, split.lengths)]
    asked = np.zeros(len(split), bool)
    asked[list(range(len(split)) if members is None else members)] = True
    for bucket in split.buckets():
        rows = np.flatnonzero((bucket_of == bucket) & asked)
        for start in range(0, len(rows), batch_size):
            indices = rows[start : start + batch_size][local.start : local.stop].tolist()
            inputs = split.prompter.inputs([split[i] for i in indices], budgets[bucket], len(local), sharding)
            ids = np.array(indices + [0] * (len(local) - len(indices)), np.int32)
            done = sharding.fetch(run(bucket, inputs, np.array([seed, 0, EVALUATION], np.int32), ids))
            yield indices, answer_texts(checkpoint, done, len(indices)), done.ended[: len(indices)]
