"""What is owed about a clip follows from its labels and from what was shown of it."""

import pytest

from emsa_jax.answers.answer_format import Answer
from emsa_jax.answers.claim_truth import (
    agreement_error,
    claims_of,
    judged,
    sign_of_label,
    true_claims,
    true_degrees,
    true_signs,
)
from emsa_jax.answers.claims import read_claims
from emsa_jax.answers.formats import FORMATS
from emsa_jax.data.facts import FACTS
from emsa_jax.data.sample import Sample

SIMS = (("label_T", "-0.6"), ("label_A", "0.4"), ("label_V", "0.0"))
ALL = ("text", "audio", "video")


def test_signs_come_from_labels_of_each_modality_from_feelings_or_as_they_are():
    assert true_signs(SIMS) == (("words", "negative"), ("face", "neutral"), ("voice", "positive"))
    assert dict(true_signs(SIMS, neutral_eps=0.5)) == {"words": "negative", "face": "neutral", "voice": "neutral"}
    assert true_signs((("expression", "happy"), ("tone", "angry"))) == (("face", "positive"), ("voice", "negative"))
    assert true_signs((("face", "negative"), ("voice", "loud"), ("label_T", "none"))) == (("face", "negative"),)
    assert true_signs(()) == ()


def test_every_expression_of_ch_cems_has_a_sign_or_may_have_either():
    signs = {label: sign_of_label(label) for label in FACTS["ch_cems"].concepts["expression"]}
    assert signs == {
        "happy": "positive",
        "sad": "negative",
        "surprised": None,
        "neutral": "neutral",
        "disgusted": "negative",
        "angry": "negative",
    }
    assert [sign_of_label(label) for label in ("开心", "悲伤", "中性", "惊讶")] == [
        "positive",
        "negative",
        "neutral",
        None,
    ]


@pytest.mark.parametrize(
    ("shown", "owed"),
    [
        (ALL, {("words", "negative"), ("face", "neutral"), ("voice", "positive"), ("agreement", "no")}),
        (("text", "audio"), {("words", "negative"), ("voice", "positive"), ("agreement", "no")}),
        (("video",), {("face", "neutral")}),
        ((), set()),
    ],
)
def test_what_is_owed(shown, owed):
    assert true_claims(true_signs(SIMS), shown) == owed


def test_agreement_is_owed_only_where_it_is_known():
    assert true_claims((("words", "positive"), ("face", "positive")), ALL) == {
        ("words", "positive"),
        ("face", "positive"),
    }
    same = tuple((about, "positive") for about in ("words", "face", "voice"))
    assert ("agreement", "yes") in true_claims(same, ALL)


def test_claims_are_counted_as_true_false_and_missing():
    owed = true_claims(true_signs(SIMS), ALL)
    assert judged(read_claims("words: dull. face: smile. all agree."), owed) == (1, 2, 3)
    assert judged(read_claims("words: dull. face: smile, frown, level mouth."), owed) == (1, 2, 3)
    assert judged(read_claims(""), owed) == (0, 0, 4)
    assert judged(read_claims("words: dull. voice: rising."), true_claims(true_signs(SIMS), ("text",)), ["voice"]) == (
        1,
        1,
        0,
    )
    assert judged(read_claims("face: smile."), {("words", "negative")}) == (0, 0, 1)  # of the face nothing is known


def test_concepts_are_claims_too():
    answer = Answer(think="", concepts=(("expression", "happy"), ("tone", "sad"), ("scenario", "vlogs")))
    assert claims_of(answer).stated == {("face", "positive"), ("voice", "negative")}


def test_degrees():
    assert true_degrees(SIMS, 1.0) == {"words degree": "strong", "voice degree": "weak"}
    assert true_degrees((), 1.0) == {}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_knows_the_signs_of_a_clip(name):
    from emsa_jax.answers.answer_options import ConceptOptions

    format = FORMATS[name].of((-1.0, 1.0), 0.0, ConceptOptions())
    assert format.truth(Sample("a", "", 0.4, "train", concepts=SIMS)).signs == true_signs(SIMS)


@pytest.mark.parametrize(
    ("think", "signs", "wrong"),
    [
        ("words: awful. face: smile. all agree.", (), "its own claims deny"),
        ("all agree.", true_signs(SIMS), "agreement that is not there"),
        (
            "face and voice decide.",
            tuple((a, "positive") for a in ("words", "face", "voice")),
            "contradiction that is not",
        ),
        ("face and voice decide.", true_signs(SIMS), ""),
        ("all agree.", (("words", "positive"), ("face", "positive")), ""),  # of the voice nothing is known
        ("on the whole.", true_signs(SIMS), ""),
    ],
)
def test_what_is_wrong_with_a_claimed_agreement(think, signs, wrong):
    assert (wrong in agreement_error(think, signs)) if wrong else agreement_error(think, signs) == ""
