"""The reasoning first: read by the rules of DC, in another order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emsa_jax.answers.answer_format import Truth
from emsa_jax.answers.dc import DC
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.think_first import ThinkFirst
from emsa_jax.data.views import MODALITIES
from emsa_jax.errors import InputError

FORMAT = make_format("think_first", (-3, 3))


def test_what_is_written_is_read_back():
    text = FORMAT.write("Negative", " a frown, a low voice ", -1.8)
    assert text == "<think>a frown, a low voice</think>\n<polarity>Negative</polarity>\n<score>-1.8</score>"
    parsed = FORMAT.parse(text)
    assert (parsed.polarity, parsed.think, parsed.score) == ("Negative", "a frown, a low voice", -1.8)
    assert parsed.well_formed and isinstance(FORMAT, ThinkFirst)
    with pytest.raises(InputError, match="cannot be written"):
        FORMAT.write("Negative", "<score>1</score>", 0.0)


def test_the_order_counts():
    other = DC((-3.0, 3.0)).write("Negative", "a frown", -1.8)
    assert FORMAT.parse(other).notes == ("tags are out of order",) and FORMAT.parse(other).score == -1.8
    assert not DC((-3.0, 3.0)).parse(FORMAT.write("Negative", "a frown", -1.8)).well_formed


def test_there_is_nothing_to_hint_at():
    with pytest.raises(InputError, match="nothing to hint at"):
        FORMAT.hint(Truth(polarity="Positive", score=1.0), "polarity")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_instruction_asks_in_this_order(language):
    lines = FORMAT.ask(MODALITIES, language).split("\n")
    assert [line[:6] for line in lines[1:]] == ["<think", "<polar", "<score"]
    assert sorted(lines) == sorted(DC((-3.0, 3.0)).ask(MODALITIES, language).split("\n"))


@given(
    st.lists(
        st.sampled_from(
            [
                "<think>",
                "</think>",
                "<polarity>",
                "</polarity>",
                "Positive",
                "<score>",
                "</score>",
                "0.5",
                "why",
                " ",
                "\x00",
            ]
        ),
        max_size=14,
    ).map("".join)
)
def test_it_differs_from_dc_in_the_order_alone(text):
    ours, theirs = FORMAT.parse(text), DC((-3.0, 3.0)).parse(text)
    assert (ours.polarity, ours.think, ours.score) == (theirs.polarity, theirs.think, theirs.score)
    assert not (ours.well_formed and theirs.well_formed)
