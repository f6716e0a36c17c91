"""The rewards of a batch: N prompts, G answers each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emsa_jax.answers.dc import Parsed
from emsa_jax.rewards.options import RewardOptions
from emsa_jax.rewards.parts import contradicts, reward_parts, total
from emsa_jax.rewards.plugins import Plugin, call_plugin


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
) -> RewardTable:
    """Scores texts[n][g], whole answers with any hint they begin with, for samples[n].

    Each sample is a mapping with "id" and "score" (the true one, or None) and what else the plug-ins read.
    uncounted_polarity: bool [N, G], answers whose polarity was given to them and is not to be paid for.
    truncated: bool [N, G], answers that were cut off (`options.truncated` says what they earn).
    """
    parsed = [[format.parse(text) for text in group] for group in texts]
    rows = []
    for n, (group, sample) in enumerate(zip(texts, samples, strict=True)):
        for g, text in enumerate(group):
            answer = parsed[n][g]
            row = reward_parts(answer, sample["score"], options, format.score_range, neutral_eps)
            if uncounted_polarity is not None and uncounted_polarity[n, g]:
                row["polarity"] = None
            for name, plugin in (plugins or {}).items():
                row[name] = call_plugin(name, plugin, text, answer, sample)
            if truncated is not None and truncated[n, g] and options.truncated == "zero":
                row = {name: None if value is None else min(value, 0.0) for name, value in row.items()}
            rows.append(row)

    shape = (len(texts), len(texts[0]) if texts else 0)

    def array(values, dtype):
        return np.array(list(values), dtype).reshape(shape)

    names = rows[0] if rows else ()
    return RewardTable(
        # float64 turns None into nan
        parts={name: array((row[name] for row in rows), np.float64) for name in names},
        total=array((total(row, options) for row in rows), np.float64),
        well_formed=array((answer.well_formed for group in parsed for answer in group), bool),
        contradict=array((contradicts(answer, neutral_eps) for group in parsed for answer in group), bool),
        parsed=parsed,
    )
