"""Scores asked for in one range and meant in another."""

import pytest

from emsa_jax.answers.answer_format import Answer, Truth
from emsa_jax.answers.dc import DC
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.data.sample import Sample
from emsa_jax.data.views import MODALITIES

TAUGHT = DC((-3.0, 3.0))
TRUE = Truth(polarity="Positive", score=1.0)


@pytest.mark.parametrize(("written", "meant"), [("3.0", 1.0), ("-1.5", -0.5), ("0.0", 0.0), ("-3", -1.0)])
def test_a_score_is_carried_into_the_datas_range(written, meant):
    answer = f"<polarity>Neutral</polarity>\n<think>1. a</think>\n<score>{written}</score>"
    assert TAUGHT.for_range((-1.0, 1.0)).parse(answer).score == pytest.approx(meant)


def test_each_side_of_zero_is_carried_in_its_own_proportion():
    format = LabelOnly((-3.0, 3.0)).for_range((-1.0, 2.0))
    assert (format.parse("3").score, format.parse("-3").score, format.parse("0").score) == (2.0, -1.0, 0.0)


def test_what_cannot_be_read_stays_unread_and_what_is_asked_stays_as_taught():
    format = TAUGHT.for_range((-1.0, 1.0))
    assert format.parse("<score>9</score>").score is None
    assert format.ask(MODALITIES, "en") == TAUGHT.ask(MODALITIES, "en")
    assert format.hint(TRUE, "polarity") == TAUGHT.hint(TRUE, "polarity")
    assert (format.name, format.score_range) == ("dc", (-1.0, 1.0))
    assert format.for_range((-2.0, 2.0)) == TAUGHT.for_range((-2.0, 2.0))


def test_writing_is_the_inverse_of_reading():
    format = TAUGHT.for_range((-1.0, 1.0))
    assert format.write("Negative", "1. a", -0.5).endswith("<score>-1.5</score>")
    assert format.parse(format.write("Negative", "1. a", -0.5)).score == pytest.approx(-0.5)


def test_the_polarity_of_a_bare_score_is_that_of_what_was_written():
    format = LabelOnly((-3.0, 3.0), 0.1).for_range((-1.0, 1.0))
    assert format.parse("0.2") == Answer(polarity="Positive", score=0.2 / 3)


def test_the_neutral_band_counts_for_the_truth_and_for_contradictions():
    clip = Sample("a", "", 0.1, "train")
    assert (DC(neutral_eps=0.1).truth(clip).polarity, DC().truth(clip).polarity) == ("Neutral", "Positive")
    answer = Answer(polarity="Neutral", think="a", score=0.1)
    assert not DC(neutral_eps=0.1).contradicts(answer) and DC().contradicts(answer)
    assert DC().contradicts(DC().parse("<polarity>Neutral</polarity><polarity>Positive</polarity>"))
    assert not DC().contradicts(DC().parse("nothing"))
