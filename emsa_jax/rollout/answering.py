"""Answers of a policy to every clip of a split."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import jax
import numpy as np

from emsa_jax.errors import InputError
from emsa_jax.parallel.batch_sharding import SINGLE_PROCESS, BatchSharding
from emsa_jax.policy.inputs import InputShape, PromptInputs
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.rollout.expected_scores import ScoreTree, end_logps, expected_scores, pack_said, said_before_scores
from emsa_jax.rollout.prompted_data import Split
from emsa_jax.rollout.prompts import answer_texts
from emsa_jax.rollout.rollout_options import SamplingOptions
from emsa_jax.rollout.sampler import EVALUATION, Completions, prefill, sample


class Compiler(Protocol):
    """What compiles functions before they are called; `runtime.programs.Programs` is one."""

    def add(self, name: str, function: Callable, *arguments: Any, label: str = "", out: Any = None) -> Callable: ...


def answer(
    base: dict,
    adapter: Adapter | None,
    inputs: PromptInputs,
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


def ends(
    base: dict,
    adapter: Adapter | None,
    inputs: PromptInputs,
    said: jax.Array,
    length: jax.Array,
    *,
    config: ThinkerConfig,
    tree: ScoreTree,
) -> jax.Array:
    """Prompts and what answers say before their scores to log-probabilities of all scores: encode, prefill, forward."""
    state = prefill(base, adapter, config, encode_prompts(base, adapter, config, inputs))
    return end_logps(base, adapter, config, state, said, length, tree=tree)


def compile_answers(
    programs: Compiler,
    name: str,
    base: dict,
    adapter: Adapter | None,
    config: ThinkerConfig,
    *,
    inputs: Mapping[int, Any],
    sampling: SamplingOptions,
    group_size: int,
) -> dict[int, Callable[..., Completions]]:
    """Adds to `programs` a program for each prompt length and its inputs' shapes.

    Returns: bucket -> (base, adapter, inputs, noise, prompt_ids) -> Completions."""
    function, compiled = functools.partial(answer, config=config, sampling=sampling, group_size=group_size), {}
    for bucket, shapes in inputs.items():
        rows = getattr(shapes.tokens, "sharding", None)
        ids = jax.ShapeDtypeStruct(shapes.tokens.shape[:1], np.int32, sharding=rows)
        arguments = (base, adapter, shapes, np.zeros(3, np.int32), ids)
        compiled[bucket] = programs.add(name, function, *arguments, label=f"{name}/{bucket}", out=rows)
    return compiled


@dataclass(frozen=True)
class Asked:
    """Clips that are asked about in batches of one shape.

    indices: the clips, places in the split, rising. rows: prompts of a batch on all processes together. shape: of the
    inputs of one shard of it."""

    indices: np.ndarray
    rows: int
    shape: InputShape

    @property
    def slots(self) -> int:
        """Prompt tokens of a batch, those that fill it up among them."""
        return self.rows * self.shape.prompt


def asked_clips(
    split: Split, batch_size: int, num_shards: int = 1, members: Sequence[int] | None = None
) -> dict[int, Asked]:
    """Prompt bucket -> the clips whose prompts it holds, without buckets that have none.

    One long clip sets the shape of its own bucket alone. The clips of a bucket go into as few batches as `batch_size`
    allows, of equal size, so that the last one is full but for a few rows, and a bucket of one clip has a batch of one.

    Args:
      num_shards: parts that the mesh cuts a batch into.
      members: indices of the clips to ask about (default: all).
    """
    edges = np.array(split.buckets())
    bucket_of = edges[np.searchsorted(edges, split.lengths)]
    asked = np.zeros(len(split), bool)
    asked[list(range(len(split)) if members is None else members)] = True
    found = {}
    for bucket in edges.tolist():
        indices = np.flatnonzero((bucket_of == bucket) & asked)
        if len(indices):
            per_shard = -(-len(indices) // (-(-len(indices) // batch_size) * num_shards))
            found[bucket] = Asked(indices, per_shard * num_shards, split.input_shape(bucket, per_shard))
    return found


def predict(
    split: Split,
    run: Callable[[int, Any, np.ndarray, np.ndarray], Completions],
    batch_size: int,
    seed: int,
    sharding: BatchSharding = SINGLE_PROCESS,
    members: Sequence[int] | None = None,
) -> Iterator[tuple[list[int], list[list[str]], np.ndarray]]:
    """Asks about clips of a split, or about a process's share of every batch. What is answered does not depend on the
    batches: noise follows the clip's index.

    Args:
      run: (bucket, inputs, noise, prompt_ids) -> Completions, of batches as `asked_clips` makes them.
      batch_size: clips of a batch at most.
      members: indices of the clips to ask about (default: all).

    Yields:
      (indices into the split, texts[n][g], ended [n, g]) batch by batch; each index once. As many batches on every
      process; the last of a bucket may have no clip of this one's.

    Raises:
      InputError: the log-probabilities of an answer are not finite, so that it says nothing of the policy.
    """
    checkpoint = split.prompter.checkpoint
    for bucket, asked in asked_clips(split, batch_size, sharding.num_shards, members).items():
        local = sharding.local_rows(asked.rows)
        for start in range(0, len(asked.indices), asked.rows):
            indices = asked.indices[start : start + asked.rows][local.start : local.stop].tolist()
            inputs = split.prompter.inputs([split[i] for i in indices], asked.shape, len(local), sharding)
            ids = np.array(indices + [0] * (len(local) - len(indices)), np.int32)
            done = sharding.fetch(run(bucket, inputs, np.array([seed, 0, EVALUATION], np.int32), ids))
            check_finite([split.entries[i].id for i in indices], done.logps)
            yield indices, answer_texts(checkpoint, done, len(indices)), done.ended[: len(indices)]


def check_finite(ids: Sequence[str], logps: np.ndarray) -> None:
    """Raises InputError, naming a clip, unless the log-probabilities of all answers are finite. logps: [rows, G, C],
    the first rows of which are of the clips `ids`."""
    bad = ~np.isfinite(logps[: len(ids)]).reshape(len(ids), -1).all(1)
    if bad.any():
        raise InputError(
            f"the log-probabilities of answers to clip {ids[int(np.argmax(bad))]} are not finite ({int(bad.sum())} of "
            f"{len(ids)} clips of a batch): the policy's weights are too large to compute with; take other weights, or "
            "lower the learning rate that made them"
        )


def expect_scores(
    split: Split,
    programs: Compiler,
    base: dict,
    adapter: Adapter | None,
    texts: Sequence[Sequence[str]],
    batch_size: int,
    inputs: Callable[[InputShape, int], Any],
    sharding: BatchSharding = SINGLE_PROCESS,
    members: Sequence[int] | None = None,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """The expected scores of answers to clips of a split; batches, order and arguments are those of `predict`.

    Args:
      programs: as for `compile_answers`; a program for each prompt bucket is added, for the longest reasoning there.
      texts: texts[i][g], the answers to every clip of the split.
      inputs: (shape of one shard, rows) -> ShapeDtypeStructs of the inputs of a batch.

    Yields:
      (indices into the split, [n, G] float64), nan where an answer has no place for a score.
    """
    checkpoint, format = split.prompter.checkpoint, split.prompter.format
    tree = ScoreTree.of(checkpoint, format)
    function = functools.partial(ends, config=checkpoint.config, tree=tree)
    for bucket, asked in asked_clips(split, batch_size, sharding.num_shards, members).items():
        said = dict(
            zip(
                asked.indices.tolist(),
                said_before_scores(checkpoint, format, [texts[i] for i in asked.indices]),
                strict=True,
            )
        )
        longest = max((len(found) for group in said.values() for found in group if found), default=0)
        slots, answers = -(-longest // 16) * 16, len(texts[asked.indices[0]])
        shapes = inputs(asked.shape, asked.rows)
        rows = getattr(shapes.tokens, "sharding", None)
        like = [
            jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=rows)
            for leaf in pack_said([], slots, asked.rows, answers)
        ]
        program = programs.add("expected", function, base, adapter, shapes, *like, label=f"expected/{bucket}", out=rows)
        local = sharding.local_rows(asked.rows)
        for start in range(0, len(asked.indices), asked.rows):
            indices = asked.indices[start : start + asked.rows][local.start : local.stop].tolist()
            given = split.prompter.inputs([split[i] for i in indices], asked.shape, len(local), sharding)
            group = [said[i] for i in indices]
            logps = sharding.fetch(program(base, adapter, given, *pack_said(group, slots, len(local), answers)))
            yield indices, expected_scores(tree, logps, group, slots)
