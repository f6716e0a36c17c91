"""Which groups are hard: every answer of theirs stays below a threshold (section III.B.3 of both papers)."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.answers.formats import label_parts
from emsa_jax.errors import InputError
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import RewardTable
from emsa_jax.rollout.rollout_options import HintOptions


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """Finds the hard groups of a run.

    metric: "total", or the name of the part that is compared. limit: an answer fails strictly below it. fraction: of a
    group's answers that must fail. cut_off_fails: an answer that was cut off counts as 0 here, whatever it earned.
    label_part: the part that says whether the label is right; it applies where there is a label. The
    total is compared without what claims earned: true ones do not make up for a wrong label.
    """

    metric: str
    limit: float
    fraction: float
    cut_off_fails: bool
    label_part: str

    @classmethod
    def of(cls, options: HintOptions, rewards: RewardOptions, format: AnswerFormat) -> Self:
        """The trigger of a run."""
        return cls(
            metric=options.metric,
            limit=threshold(options, rewards, format.label_part),
            fraction=options.trigger_fraction,
            cut_off_fails=options.truncated_as_fail,
            label_part=format.label_part,
        )

    def hard(self, table: RewardTable, ended: np.ndarray | None = None, fraction: float | None = None) -> np.ndarray:
        """bool [N]: the groups of which at least `fraction` (default: the trigger's) of the G answers fail. Never those
        without a label, nor those to which the metric does not apply.

        ended: bool [N, G], answers that were not cut off; None if none was. Raises InputError for a metric that the
        table does not have.
        """
        if self.metric != "total" and self.metric not in table.parts:
            raise InputError(f"hint.metric: {self.metric!r} is none of total, {', '.join(table.parts)}")
        values = table.total - table.claims if self.metric == "total" else table.parts[self.metric]
        if ended is not None and self.cut_off_fails:
            values = np.where(ended, values, 0.0)
        known = ~np.isnan(values) & ~np.isnan(table.parts[self.label_part])
        failed = (known & (values < self.limit)).sum(axis=1)
        fraction = self.fraction if fraction is None else fraction
        return failed >= fewest_failures(fraction, values.shape[1])


def fewest_failures(fraction: float, answers: int) -> int:
    """How many of a group's answers have to fail to make it hard: one at least, however small the fraction is."""
    return max(1, math.ceil(fraction * answers - 1e-9))


def threshold(options: HintOptions, rewards: RewardOptions, label_part: str = "polarity") -> float:
    """The number below which an answer fails. "auto" is what a right label in good form earns at least: for the total
    the weights of the format and of the part that pays for the label, for that part 1.

    Of answers with concepts, one of the wrong class can earn as much with all concepts right: there "accuracy" tells
    the hard groups better."""
    if options.threshold != "auto":
        return float(options.threshold)
    return 1.0 if options.metric in label_parts() else rewards.weight("format") + rewards.weight(label_part)
