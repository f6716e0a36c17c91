"""Scores asked for in one range and meant in another."""

import pytest

from emsa_jax.answers.dc import DC
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.answers.rescaled import Rescaled

TAUGHT = DC((-3.0, 3.0))


@pytest.mark.parametrize(("written", "meant"), [("3.0", 1.0), ("-1.5", -0.5), ("0.0", 0.0), ("-3", -1.0)])
def test_a_score_is_carried_into_the_datas_range(written, meant):
    answer = f"<polarity>Neutral</polarity>\n<think>1. a</think>\n<score>{written}</score>"
    assert Rescaled(TAUGHT, (-1.0, 1.0)).parse(answer).score == pytest.approx(meant)


def test_each_side_of_zero_is_carried_in_its_own_proportion():
    format = Rescaled(LabelOnly((-3.0, 3.0)), (-1.0, 2.0))
    assert (format.parse("3").score, format.parse("-3").score, format.parse("0").score) == (2.0, -1.0, 0.0)


def test_what_cannot_be_read_stays_unread_and_what_is_asked_stays_as_taught():
    format = Rescaled(TAUGHT, (-1.0, 1.0))
    assert format.parse("<score>9</score>").score is None
    assert format.instruction("en", True, True, True) == TAUGHT.instruction("en", True, True, True)
    assert (format.name, format.score_range, format.hint("Positive")) == ("dc", (-1.0, 1.0), TAUGHT.hint("Positive"))


def test_writing_is_the_inverse_of_reading():
    format = Rescaled(TAUGHT, (-1.0, 1.0))
    assert format.parse(format.write("Negative", "1. a", -0.5)).score == pytest.approx(-0.5)
