"""How a run's answers are judged: `evaluation.predict.judge` with all that is the same at every step."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from emsa_jax.answers.formats import CLASS_FORMATS
from emsa_jax.rewards.class_parts import class_balance
from emsa_jax.rewards.plugins import load_plugins
from emsa_jax.rewards.reward_table import RewardTable, sample_of, truth_of
from emsa_jax.rollout.answering import judge
from emsa_jax.settings.config import Config


def answer_scorer(config: Config, format, train: Iterable) -> Callable[..., RewardTable]:
    """judge(clips, texts, ended, ...) for answers of a format. train: the training set's clips or entries."""
    told, balance = ("polarity",), None
    if config.format in CLASS_FORMATS:
        told = format.told(config.hint.levels[0]) if config.hint.mode == "hint" else ()
        if config.reward.class_balance == "inverse":
            truths = [truth_of(format, sample_of(clip)) for clip in train]
            balance = class_balance([truth.sentiment for truth in truths if truth], format.classes)
    return functools.partial(
        judge,
        format,
        options=config.reward,
        plugins=load_plugins(config.reward.plugins),
        neutral_eps=config.labels.neutral_eps,
        told=told,
        balance=balance,
    )
