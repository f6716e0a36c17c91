"""Which groups are hard: every answer of theirs stays below a threshold (section III.B.3 of both papers)."""

import math

import numpy as np

from emsa_jax.errors import InputError
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.reward_table import RewardTable
from emsa_jax.rollout.rollout_options import CLASS_METRICS, HintOptions


def threshold(options: HintOptions, rewards: RewardOptions, part: str = "polarity") -> float:
    """The number itself. "auto" is what a right polarity in good form earns at least: for the total the
    weights of format and polarity, for the polarity 1. part: what stands in the polarity's place.

    Of answers with concepts, one of the wrong class can earn as much with all concepts right: there "accuracy" tells
    the hard groups better."""
    if options.threshold != "auto":
        return float(options.threshold)
    return 1.0 if options.metric in CLASS_METRICS else rewards.weight("format") + rewards.weight(part)


def trigger_metric(table: RewardTable, truncated: np.ndarray | None, options: HintOptions) -> np.ndarray:
    """What is compared with the threshold: float64 [N, G]. `truncated`: bool [N, G].

    +inf, never hard, where there is nothing to compare: no true score, or a part that does not apply.
    """
    if options.metric != "total" and options.metric not in table.parts:
        raise InputError(f"hint.metric: {options.metric!r} is none of total, {', '.join(table.parts)}")
    metric = table.total if options.metric == "total" else table.parts[options.metric]
    if truncated is not None and options.truncated_as_fail:
        metric = np.where(truncated, 0.0, metric)
    unknown = np.isnan(metric) | np.isnan(table.parts["accuracy" if "accuracy" in table.parts else "score"])
    return np.where(unknown, np.inf, metric)


def hard_groups(metric: np.ndarray, limit: float, trigger_fraction: float = 1.0) -> np.ndarray:
    """bool [N]: at least `trigger_fraction` of the group's G answers lie strictly below `limit`."""
    below = (metric < limit).sum(axis=1)
    return below >= math.ceil(trigger_fraction * metric.shape[1] - 1e-9)
