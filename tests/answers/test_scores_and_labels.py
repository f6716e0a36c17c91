"""Scores and polarities as text."""

import numpy as np
import pytest

from emsa_jax.answers.answer_format import Truth
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.answers.labels import SENTIMENTS, polarity_of, polarity_of_sentiment, sentiment_of
from emsa_jax.answers.scores import read_score, write_score
from emsa_jax.errors import InputError


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (0.6, "0.6"),
        (-1.4, "-1.4"),
        (0, "0.0"),
        (-0.0, "0.0"),
        (0.25, "0.25"),
        (1 / 3, "0.33"),
        (0.6000000238, "0.6"),
        (3, "3.0"),
        (-0.001, "0.00"),
    ],
)
def test_scores_are_written_short(score, text):
    assert write_score(score) == text


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_what_is_not_finite_has_no_text_and_no_polarity(score):
    for function in (write_score, polarity_of):
        with pytest.raises(ValueError, match="finite"):
            function(score)


def test_both_ends_of_the_range_are_in_it():
    assert read_score("1.0", (-1, 1)) == (1.0, "")
    assert read_score("-1", (-1, 1)) == (-1.0, "")
    assert read_score("1.01", (-1, 1)) == (None, "score is out of range")


def test_polarity_is_the_sign_but_for_the_neutral_band():
    expected = ["Positive", "Neutral", "Neutral", "Negative"]
    assert [polarity_of(s) for s in (0.1, 0.0, -0.0, -0.1)] == expected
    assert [polarity_of(s, 0.1) for s in (0.2, 0.1, -0.1, -0.2)] == expected


def test_label_only_is_one_score_and_nothing_else():
    format = LabelOnly((-1, 1))
    assert format.write("Positive", "not written", 0.6) == "0.6"
    parsed = format.parse(" 0.6\n")
    assert (parsed.polarity, parsed.think, parsed.score, parsed.well_formed) == ("Positive", None, 0.6, True)
    for text in ("", "Positive", "0.6 yes", "<score>0.6</score>", "1.1", "nan", "0.6\x00", "9" * 100_000):
        parsed = format.parse(text)
        assert (parsed.polarity, parsed.score, parsed.well_formed) == (None, None, False)
        assert len(parsed.notes) == 1
    with pytest.raises(InputError, match="nothing to hint at"):
        format.hint(Truth(polarity="Neutral", score=0.0), "polarity")
    with pytest.raises(InputError):
        format.write("Positive", "", 2.0)


def test_formats_by_name():
    assert make_format("dc", (-3, 3)).score_range == (-3.0, 3.0)
    assert make_format("label_only", [-1, 1]) == LabelOnly((-1.0, 1.0))
    with pytest.raises(InputError, match="'json'"):
        make_format("json", (-1, 1))


def test_a_bare_score_is_read_with_the_labels_neutral_band():
    assert make_format("label_only", (-1, 1), 0.1).parse("0.05").polarity == "Neutral"
    assert make_format("label_only", (-1, 1)).parse("0.05").polarity == "Positive"


def test_classes_have_the_fields_edges_in_float32():
    """Right-closed bins of CH-SIMS: as `np.searchsorted` in float64 would not have it for float32 labels."""
    near = [np.nextafter(np.float32(edge), np.float32(side)) for edge in (-0.7, -0.1, 0.1, 0.7) for side in (-9, 9)]
    five = [sentiment_of(float(np.float32(s)), 5) for s in (-0.7, -0.1, 0.1, 0.7)]
    assert five == ["Negative", "Weakly Negative", "Neutral", "Weakly Positive"]
    assert (
        [sentiment_of(s, 5) for s in near]
        == [sentiment_of(float(s), 5) for s in near]
        == [
            "Negative",
            "Weakly Negative",
            "Weakly Negative",
            "Neutral",
            "Neutral",
            "Weakly Positive",
            "Weakly Positive",
            "Positive",
        ]
    )
    assert [sentiment_of(s, 3) for s in (-0.1, 0.1, -0.0, 0.2, -1)] == [
        "Negative",
        "Neutral",
        "Neutral",
        "Positive",
        "Negative",
    ]
    grid = [sentiment_of(n / 5, 5) for n in range(-5, 6)]
    assert grid == ["Negative"] * 2 + ["Weakly Negative"] * 3 + ["Neutral"] + ["Weakly Positive"] * 3 + ["Positive"] * 2
    assert [sentiment_of(3 * n / 5, 5, (-3, 3)) for n in range(-5, 6)] == grid
    assert [polarity_of_sentiment(s).lower()[:3] for s in SENTIMENTS[5]] == ["neg", "neg", "neu", "pos", "pos"]
    with pytest.raises(ValueError, match="finite"):
        sentiment_of(float("nan"), 3)
