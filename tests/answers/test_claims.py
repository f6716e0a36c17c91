"""Claims are read as a person read them, whatever else a text holds."""

import json
import re
import runpy
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsa_jax.answers.claims import Claims, agreement, falsely_agrees, not_shown, read_claims, supported

ROOT = Path(__file__).parents[2]
ROWS = [json.loads(line) for line in (ROOT / "tests/fixtures/claims.jsonl").read_text(encoding="utf-8").splitlines()]


def stated(text):
    return {f"{about} {sign}" for about, sign in read_claims(text).stated}


def test_the_reader_is_right_about_labelled_reasonings():
    measured = runpy.run_path(str(ROOT / "benchmarks/claims.py"))["measure"](ROWS)
    assert {origin: found["n"] for origin, found in measured.items()} == {
        "puppets_en": 100,
        "puppets_zh": 50,
        "free_en": 100,
        "free_zh": 50,
    }
    for origin, found in measured.items():
        least = 0.95 if origin.startswith("puppets") else 0.85
        assert min(found["precision"], found["recall"]) >= least, (origin, found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("words: good. face: frown.", {"words positive", "face negative"}),
        ("The voice is not happy.", {"voice negative"}),
        ("The voice is not angry.", {"voice neutral"}),
        ("The words are not bad.", {"words positive"}),
        ("Neither the face nor the voice is cheerful.", {"face negative", "voice negative"}),
        ("All agree.", {"agreement yes"}),
        ("They do not agree.", {"agreement no"}),
        ("There is no contradiction.", {"agreement yes"}),
        ("文字不错，表情悲伤，两者矛盾。", {"words positive", "face negative", "agreement no"}),
        ("She smiles. She frowns.", {"face positive", "face negative"}),
        ("<b>FACE</b>: a ＳＭＩＬＥ", {"face positive"}),
        ("The sentiment is negative.", set()),
        ("", set()),
    ],
)
def test_claims_of_short_texts(text, expected):
    assert stated(text) == expected


def test_what_evidence_supports():
    assert (
        supported(read_claims("words: awful. face: clear smile. voice: rising. face and voice decide.")) == "Positive"
    )
    assert supported(read_claims("words: awful. face: clear smile. voice: rising. the words decide.")) == "Negative"
    assert supported(read_claims("words: awful. face: clear smile. voice: rising.")) == "Positive"
    assert supported(read_claims("words: awful. face: clear smile.")) is None
    assert supported(read_claims("face: smile, frown. words: dull.")) == "Negative"  # both signs count for nothing
    assert supported(Claims()) is None


def test_agreement_that_is_false():
    assert falsely_agrees(read_claims("words: awful. face: clear smile. voice: rising. all agree."))
    assert not falsely_agrees(read_claims("words: nice. face: clear smile. voice: rising. all agree."))
    assert not falsely_agrees(read_claims("words: awful. face: clear smile. voice: rising. face and voice decide."))
    assert agreement(["positive", "positive", "positive"]) == "yes"
    assert agreement(["positive", None, "negative"]) == "no"
    assert agreement(["positive", "positive", None]) is None
    assert agreement(["positive", "positive"]) == "yes"
    assert agreement(["positive"]) is None


def test_claims_about_what_was_not_shown():
    text = "words: nice. face: smile. voice: rising."
    found = read_claims(text)
    assert not_shown(text, found, ("text",)) == ["face", "voice"]
    assert not_shown(text, found, ("text", "audio", "video")) == []
    silent = "The words are nice; there is no video and no audio."
    assert not_shown(silent, read_claims(silent), ("text",)) == []


def test_finer_claims():
    text = "1. words: awful. 2. face: slight frown, brows knit. 3. voice: falling, fast. 4. all agree."
    assert read_claims(text).finer == {
        ("words degree", "strong"),
        ("face degree", "weak"),
        ("brows", "knit"),
        ("contour", "falling"),
        ("tempo", "fast"),
    }


@pytest.mark.parametrize(
    "unit",
    [
        "face ",
        "good ",
        "not ",
        "a,",
        "face, ",
        "so is ",
        "could or ",
        "corner ",
        "smile and ",
        "(",
        "1. ",
        "...",
        "矛盾",
        "\x00",
    ],
)
def test_long_texts_take_linear_time(unit):
    start = time.process_time()
    read_claims(unit * 100_000)
    assert time.process_time() - start < 1.0


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_any_text_can_be_read(text):
    for about, sign in read_claims(text).stated:
        assert (about, sign in ("yes", "no")) in {
            ("agreement", True),
            ("words", False),
            ("face", False),
            ("voice", False),
        }


def test_the_documented_phrases_name_a_contradiction():
    text = (ROOT / "docs/faithful.md").read_text(encoding="utf-8")
    section = text.split("## The phrases by which")[1].split("\n## ")[0]
    named, agreed = section.split('"No contradiction"')
    quoted = re.findall(r'"([^"]+)"', named) + re.findall(r"[\u4e00-\u9fff]{2,}", named)
    assert len(quoted) > 10
    for phrase in quoted:
        assert read_claims(phrase).sign("agreement") == "no", phrase
    for verb in ("contradict", "conflict", "disagree", "diverge", "mismatch", "do not agree", "do not match"):
        assert read_claims(f"Words and face {verb}.").sign("agreement") == "no", verb
    for phrase in ["no contradiction", *re.findall(r'"([^"]+)"', agreed), *re.findall(r"[\u4e00-\u9fff]{2,}", agreed)]:
        assert read_claims(phrase).sign("agreement") == "yes", phrase
