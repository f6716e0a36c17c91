"""The rewards of one answer, and how they add up."""

import pytest

from emsa_jax.answers.dc import DC
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError
from emsa_jax.rewards.parts import reward_parts, score_reward
from emsa_jax.rewards.reward_options import RewardOptions
from emsa_jax.rewards.score_answers import total

FORMAT = DC((-1, 1))


def parts(text, truth, eps=0.0, **options):
    format, options = DC((-1, 1), eps), RewardOptions(**options)
    true = format.truth(Sample("a", "", truth, "train"))
    return reward_parts(format.parse(text), true, format, options, options.consistency == "penalty")


def answer(polarity, score):
    return FORMAT.write(polarity, "because", score)


def test_the_score_reward_falls_with_the_distance():
    assert score_reward(0.5, 0.5, (-1, 1)) == 1
    assert score_reward(-1.0, 1.0, (-1, 1)) == 0
    assert score_reward(-1.5, 1.5, (-3, 3)) == 0.5
    assert score_reward(3.0, -4.0, (-3, 3)) == 0
    assert score_reward(None, 0.0, (-1, 1)) == 0


def test_the_three_parts():
    assert parts(answer("Positive", 0.2), 0.6) == {"format": 1, "polarity": 1, "score": 0.8}
    assert parts(answer("Negative", 0.2), 0.6) == {"format": 1, "polarity": 0, "score": 0.8}
    assert parts("<score>0.2</score>", 0.6) == {"format": 0, "polarity": 0, "score": 0.8}
    assert parts("", 0.6) == {"format": 0, "polarity": 0, "score": 0}


def test_the_gate_pays_for_the_score_only_beside_the_true_polarity():
    assert parts(answer("Negative", 0.2), 0.6, score_gate="polarity")["score"] == 0
    assert parts(answer("Positive", 0.2), 0.6, score_gate="polarity")["score"] == 0.8


def test_the_neutral_band():
    assert parts(answer("Neutral", 0.0), 0.1, eps=0.1)["polarity"] == 1
    assert parts(answer("Neutral", 0.0), 0.1)["polarity"] == 0


def test_consistency():
    options = {"consistency": "penalty"}
    assert parts(answer("Positive", 0.2), 0.6, **options)["consistency"] == 0
    assert parts(answer("Positive", -0.2), 0.6, **options)["consistency"] == -1
    assert parts(answer("Positive", 0.0), 0.6, **options)["consistency"] == -1
    second = answer("Positive", 0.2) + "<polarity>Negative</polarity>"
    assert parts(second, 0.6, **options)["consistency"] == -1
    assert parts("nothing", 0.6, **options)["consistency"] == 0


def test_what_does_not_apply_is_left_out_of_the_sum():
    unlabelled = parts(answer("Positive", 0.2), None)
    assert unlabelled == {"format": 1, "polarity": None, "score": None}
    assert total(unlabelled, RewardOptions({"format": 0.5})) == 0.5
    assert total({"format": 1.0, "polarity": 1.0, "score": 0.5}, RewardOptions({"score": 2})) == 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score_gate": "yes"}, "reward.score_gate: 'yes'"),
        ({"consistency": True}, "reward.consistency: True"),
        ({"weights": {"socre": 1}}, "reward.weights.socre"),
        ({"weights": {"score": -1}}, "reward.weights.score"),
        ({"weights": {"score": float("nan")}}, "nan"),
        ({"weights": {"score": "1"}}, "'1'"),
    ],
)
def test_bad_options_are_named(change, message):
    with pytest.raises(InputError) as error:
        RewardOptions(**change)
    assert message in str(error.value)


def test_a_plugin_may_be_weighed():
    assert RewardOptions({"brevity": 0.2}, plugins=("mine:brevity",)).weight("brevity") == 0.2
