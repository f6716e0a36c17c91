"""When a group is hard."""

from dataclasses import replace

import numpy as np
import pytest

from emsa_jax.answers.concepts import Concepts
from emsa_jax.answers.dc import DC
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rewards.trigger import Trigger, threshold
from emsa_jax.rollout.rollout_options import HintOptions

FORMAT = DC((-1, 1))
RIGHT, WRONG = FORMAT.write("Positive", "good", 0.6), FORMAT.write("Negative", "bad", -0.4)
TORN = FORMAT.write("Positive", "torn", -0.4)
CLIPS = [Sample("a", "hey", 0.6, "train"), Sample("b", "", None, "train")]


def hard(texts, ended=None, clips=CLIPS[:1], rewards=None, format=FORMAT, **options):
    rewards = rewards or RewardOptions()
    table = AnswerScorer(format=format, options=rewards)(clips, texts)
    return Trigger.of(HintOptions(**options), rewards, format).hard(table, ended).tolist()


def test_a_group_is_hard_when_all_its_polarities_are_wrong():
    for metric in ("total", "polarity"):
        assert hard([[WRONG, WRONG]], metric=metric) == [True]
        assert hard([[WRONG, RIGHT]], metric=metric) == [False]
        assert hard([[WRONG, TORN]], metric=metric) == [False]  # right polarity, whatever the score


def test_the_automatic_threshold_follows_the_weights():
    rewards = RewardOptions({"format": 0.1, "polarity": 0.2, "score": 0.3})
    far = FORMAT.write("Positive", "far", -1.0)
    assert threshold(HintOptions(), rewards) == pytest.approx(0.3)
    assert hard([[far, far]], clips=[replace(CLIPS[0], score=1.0)], rewards=rewards) == [False]
    assert hard([[WRONG, WRONG]], rewards=rewards) == [True]


def test_threshold_fraction_and_part():
    assert hard([[RIGHT, RIGHT]], threshold=3.1) == [True]
    assert hard([[WRONG, RIGHT]], trigger_fraction=0.5) == [True]
    assert hard([[RIGHT, RIGHT, WRONG]], trigger_fraction=0.5) == [False]
    assert hard([[RIGHT, RIGHT], [RIGHT, WRONG]], clips=CLIPS[:1] * 2, trigger_fraction=1e-9) == [False, True]
    assert hard([[WRONG, WRONG]], metric="score", threshold=0.5) == [False]
    assert hard([["", WRONG]], metric="format", threshold=1) == [False]


def test_a_truncated_answer_counts_as_nothing():
    ended = np.array([[False, True]])
    assert hard([[RIGHT, WRONG]], ended) == [True]
    assert hard([[RIGHT, WRONG]], ended, metric="polarity") == [True]
    assert hard([[RIGHT, WRONG]], ended, truncated_as_fail=False) == [False]


def test_a_clip_without_a_true_score_is_never_hard():
    assert hard([["", ""]], np.zeros((1, 2), bool), clips=CLIPS[1:]) == [False]
    assert hard([["", ""]], np.zeros((1, 2), bool), clips=CLIPS[1:], trigger_fraction=1e-9) == [False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"threshold": "high"}, "hint.threshold"),
        ({"threshold": float("nan")}, "hint.threshold"),
        ({"metric": "score"}, "hint.threshold"),
        ({"trigger_fraction": 0}, "hint.trigger_fraction"),
    ],
)
def test_bad_trigger_options_are_named(change, message):
    with pytest.raises(InputError, match=message):
        HintOptions(**change)
    with pytest.raises(InputError, match="hint.metric"):
        hard([[RIGHT]], metric="charm", threshold=1)


def test_hard_groups_are_those_of_the_wrong_class():
    format = Concepts(5)
    true = {"expression": "happy", "speaking_style": "Informational Interaction", "tone": "casual"}
    others = {"expression": "sad", "speaking_style": "General Narrative Exposition", "tone": "sad"}
    wrong, right = (format.write("", f"so {' '.join(format.marks(c))}", s) for s, c in ((-0.4, true), (0.4, others)))
    clip = Sample("a", "", 0.4, "train", concepts=tuple(true.items()))
    groups = {"clips": [clip, clip, replace(clip, score=None)], "format": format}
    texts = [[wrong, wrong], [wrong, right], [wrong, wrong]]
    assert hard(texts, metric="accuracy", **groups) == [True, False, False]
    # all concepts right: as much as a right class in good form
    assert hard(texts, metric="total", **groups) == [False, False, False]
