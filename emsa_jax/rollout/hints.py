"""Hint re-rollouts: which groups are hard, what they are told, and how their new answers take their place.

A hard group (all G answers below the threshold) is sampled again after its true polarity, from the same prompt cache
(MSA-Thinker and C2F-Thinker, section III.B.3). The forced tokens stand in the first answer slots, outside loss, KL
and length unless told otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from emsa_jax.errors import InputError
from emsa_jax.rollout.sampler import Completions


@dataclass(frozen=True)
class HintOptions:
    """What to do with hard groups.

    mode: "hint" samples them again after the true polarity; "off" leaves them; "drop_hard" leaves them out.
    metric, threshold, trigger_fraction, truncated_as_fail: when a group is hard, see rewards.trigger.
    replace: "all" answers of a hard group are replaced, or as many as the number says (its last ones).
    loss_on_hint: the forced tokens count as sampled ones. Refused with replace "all" and beta > 0.
    count_polarity_reward: hinted answers earn the polarity reward for the polarity they were given.
    template: the forced text with {polarity} in it; none: how the answer format begins.
    on_fail: a hinted group that is still hard is kept, gets its original answers back, or is dropped.
    adv_scale: "inherit", or "none": hinted groups are not divided by their standard deviation.
    loss_weight: factor of hinted answers in the loss.
    temperature: of the re-rollout; none: as sampling.temperature.
    levels: what is told, as the answer format knows it: "polarity" of DC answers; "sentiment" or
      "sentiment+concepts" of those with concepts.
    start_step, prob, max_fraction: from which step on, with which chance, for which share of a step's prompts.
    count_in_budget: forced tokens count toward max_completion_length.
    buckets: sizes in which hard groups are sampled again; () means a quarter of the prompts, and all.
    polarity_nll: weight of -log p(true polarity), added to the loss; polarity_nll_scope: on "hard" groups or "all".
    """

    mode: Literal["hint", "off", "drop_hard"] = "hint"
    metric: str = "total"
    threshold: Literal["auto"] | float = "auto"
    trigger_fraction: float = 1.0
    truncated_as_fail: bool = True
    replace: Literal["all"] | int = "all"
    loss_on_hint: bool = False
    count_polarity_reward: bool = True
    template: str | None = None
    on_fail: Literal["keep", "original", "drop"] = "keep"
    adv_scale: Literal["inherit", "none"] = "inherit"
    loss_weight: float = 1.0
    temperature: float | None = None
    levels: tuple[str, ...] = ("polarity",)
    start_step: int = 0
    prob: float = 1.0
    max_fraction: float = 1.0
    count_in_budget: bool = True
    buckets: tuple[int, ...] = ()
    polarity_nll: float = 0.0
    polarity_nll_scope: Literal["hard", "all"] = "hard"

    def __post_init__(self) -> None:
        if len(self.levels) != 1:
            raise InputError(f"hint.levels must be one level, as ('polarity',), not {self.levels}")
        if self.template is not None and "{polarity}" not in self.template:
            raise InputError("hint.template must hold {polarity}")
        if not (0 <= self.prob <= 1 and 0 <= self.max_fraction <= 1):
            raise InputError("hint.prob and hint.max_fraction must be in [0, 1]")
        if min(self.loss_weight, self.polarity_nll, self.start_step) < 0:
            raise InputError("hint.loss_weight, hint.polarity_nll and hint.start_step must not be negative")
        if any(size < 1 for size in self.buckets):
            raise InputError(f"hint.buckets must be positive, not {self.buckets}")
        if self.temperature is not None and self.temperature <= 0:
            raise InputError("hint.temperature must be positive, or none")

    def check(self, group_size: int, beta: float) -> None:
        """Raises InputError for a combination that cannot work, with the reason."""
        if self.replace != "all" and not 0 < self.replace < group_size:
            raise InputError(f"hint.replace must be 'all' or between 1 and {group_size - 1}, not {self.replace}")
        if self.mode == "hint" and self.replace == "all" and self.loss_on_hint and beta > 0:
            raise InputError(
                "hint.loss_on_hint with hint.replace=all and loss.beta > 0 is refused: the advantages of "
                "a group that shares its forced tokens sum to zero, so only the KL would act on them and "
                "pull the true polarity down; use hint.replace=K, hint.polarity_nll, or loss.beta=0"
            )

    def num_hinted(self, group_size: int) -> int:
        """Answers of a hard group that are sampled again."""
        return group_size if self.replace == "all" else self.replace


def bucket_sizes(options: HintOptions, prompts: int, shards: int = 1) -> tuple[int, ...]:
    """The compiled sizes, rising, of each of the equal shards of a step's prompts; the last holds them all."""
    each = prompts // shards
    sizes = [-(-size // shards) for size in options.buckets] or (max(each // 4, 1), each)
    return tuple(sorted({min(size, each) for size in sizes} | {each}))


def choose_hinted(hard: np.ndarray, options: HintOptions, seed: int, step: int) -> np.ndarray:
    """Rows [H] of the hard groups that are hinted at this step: a function of (hard, seed, step)."""
    if options.mode != "hint" or step < options.start_step:
        return np.zeros(0, np.int64)
    rows = np.flatnonzero(hard)
    if options.prob < 1:
        rows = rows[np.random.default_rng((seed, step, 7)).random(len(rows)) < options.prob]
    return rows[: int(options.max_fraction * len(hard) + 1e-9)]


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
