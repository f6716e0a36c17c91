"""Hint re-rollouts: which groups are hard, what they are told, and how their new answers take their place.

A hard group (all G answers below the threshold) is sampled again after its true polarity, from the same prompt cache
(MSA-Thinker and C2F-Thinker, section III.B.3). The forced tokens stand in the first answer slots, outside loss, KL
and length unless told otherwise.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.rollout.rollout_options import HintOptions
from emsa_jax.rollout.sampler import Completions


def bucket_sizes(prompts: int, shards: int = 1) -> tuple[int, ...]:
    """The compiled sizes, rising, of each of the equal shards of a step's prompts: a quarter of them, and all."""
    each = prompts // shards
    return tuple(sorted({max(each // 4, 1), each}))


def choose_hinted(hard: np.ndarray, options: HintOptions) -> np.ndarray:
    """Rows [H] of the hard groups that are hinted. hard: bool [N]."""
    return np.flatnonzero(hard) if options.mode == "hint" else np.zeros(0, np.int64)


def compact(rows: np.ndarray, prompts: int, shards: int, sizes: tuple[int, ...]) -> np.ndarray:
    """[shards, size] int32: each shard's rows, counted from its own first, in the smallest bucket that holds the rows
    of every shard; a shard without any shows row 0, and each fills up with the first of its own.

    rows: of a whole batch of `prompts`, rising. The size is the same for all shards, and on every process: prompts stay
    where their cache is.
    """
    each = prompts // shards
    own = [rows[rows // each == shard] - shard * each for shard in range(shards)]
    size = next(s for s in sizes if s >= max(map(len, own)))
    return np.stack([np.concatenate([r, np.full(size - len(r), r[0] if len(r) else 0)]) for r in own]).astype(np.int32)


def prompt_rows(rows: jax.Array, prompts: int, shards: int) -> tuple[jax.Array, jax.Array]:
    """(rows as `PromptState.take` wants them, [shards * size] int32 which prompt of the step each is).

    rows: [shards * size] int32, those of each shard counted from its own first, as `compact` gives them."""
    if shards == 1:
        return rows, rows
    rows = rows.reshape(shards, -1)
    return rows, (rows + prompts // shards * jnp.arange(shards, dtype=jnp.int32)[:, None]).reshape(-1)


def splice(
    original: Completions, hinted: Completions, rows: np.ndarray, source: np.ndarray | None = None
) -> Completions:
    """The completions with hinted answers in place of the last ones of `rows`. Host arrays in and out.

    source: which rows of `hinted` they are (default: its first ones)."""
    count = hinted.tokens.shape[1]
    source = np.arange(len(rows)) if source is None else source
    fields = {}
    for name in ("tokens", "logps", "length", "ended", "forced"):
        value = np.array(getattr(original, name))
        value[rows, -count:] = np.asarray(getattr(hinted, name))[source]
        fields[name] = value
    return Completions(**fields)


def loss_mask(completions: Completions, options: HintOptions) -> np.ndarray:
    """bool [N, G, C]: tokens that were drawn (and, if asked for, forced ones): they carry loss, KL and length."""
    slots = np.arange(completions.tokens.shape[-1])
    mask = slots < np.asarray(completions.length)[..., None]
    return mask if options.loss_on_hint else mask & (slots >= np.asarray(completions.forced)[..., None])
