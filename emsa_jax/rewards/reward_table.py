"""The rewards of a batch: N prompts, G answers each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emsa_jax.answers.dc import Parsed
from emsa_jax.answers.formats import CLASS_FORMATS
from emsa_jax.errors import InputError
from emsa_jax.rewards.class_parts import class_parts, disagrees
from emsa_jax.rewards.parts import contradicts, reward_parts, total
from emsa_jax.rewards.plugins import Plugin, call_plugin
from emsa_jax.rewards.reward_options import RewardOptions


@dataclass(frozen=True)
class RewardTable:
    """All arrays are [N, G]."""

    parts: dict[str, np.ndarray]  # float64, unweighted; nan where a part does not apply
    total: np.ndarray  # float64, the weighted sum of the parts that apply
    well_formed: np.ndarray  # bool
    contradict: np.ndarray  # bool: the answer contradicts itself
    parsed: list[list[Parsed]]


def batch_rewards(
    texts: Sequence[Sequence[str]],
    samples: Sequence[Mapping],
    format,
    options: RewardOptions,
    plugins: Mapping[str, Plugin] | None = None,
    neutral_eps: float = 0.0,
    uncounted_polarity: np.ndarray | None = None,
    truncated: np.ndarray | None = None,
    told: Sequence[str] = ("polarity",),
    balance: Mapping[str, float] | None = None,
) -> RewardTable:
    """Scores texts[n][g], whole answers with any hint they begin with, for samples[n].

    Each sample is a mapping with "id" and "score" (the true one, or None) and what else the plug-ins read; for formats
    that name a class also "concepts" ((name, label) pairs) and "language".
    uncounted_polarity: bool [N, G], answers that were given the parts `told`, which are not to be paid for.
    truncated: bool [N, G], answers that were cut off (`options.truncated` says what they earn).
    balance: true class -> factor of the accuracy in the total (`class_parts.class_balance`).
    """
    by_class = format.name in CLASS_FORMATS
    totals = []
    parsed = [[format.parse(text) for text in group] for group in texts]
    rows = []
    for n, (group, sample) in enumerate(zip(texts, samples, strict=True)):
        truth = truth_of(format, sample) if by_class else None
        for g, text in enumerate(group):
            answer = parsed[n][g]
            if by_class:
                row = class_parts(answer, truth, format, options)
            else:
                row = reward_parts(answer, sample["score"], options, format.score_range, neutral_eps)
            if uncounted_polarity is not None and uncounted_polarity[n, g]:
                row |= dict.fromkeys(told)
            for name, plugin in (plugins or {}).items():
                row[name] = call_plugin(name, plugin, text, answer, sample)
            if truncated is not None and truncated[n, g] and options.truncated == "zero":
                row = {name: None if value is None else min(value, 0.0) for name, value in row.items()}
            rows.append(row)
            totals.append(total(row, options, (balance or {}).get(truth.sentiment, 1.0) if truth else 1.0))

    shape = (len(texts), len(texts[0]) if texts else 0)

    def array(values, dtype):
        return np.array(list(values), dtype).reshape(shape)

    names = rows[0] if rows else ()
    torn = disagrees if by_class else lambda answer: contradicts(answer, neutral_eps)
    return RewardTable(
        # float64 turns None into nan
        parts={name: array((row[name] for row in rows), np.float64) for name in names},
        total=array(totals, np.float64),
        well_formed=array((answer.well_formed for group in parsed for answer in group), bool),
        contradict=array((torn(answer) for group in parsed for answer in group), bool),
        parsed=parsed,
    )


def truth_of(format, sample: Mapping):
    """What is true of a sample, for a format that names a class; None without a score. InputError naming the sample
    for a label that is unknown."""
    if sample["score"] is None:
        return None
    try:
        return format.truth(sample["score"], sample.get("concepts", ()), sample.get("language", "en"))
    except InputError as error:
        raise InputError(f"clip {sample['id']!r}: {error}") from error


def sample_of(clip) -> dict:
    """What rewards may know of a Clip or Entry."""
    return {name: getattr(clip, name) for name in ("id", "score", "text", "concepts", "language")}
