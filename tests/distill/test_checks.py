"""The filter: each fault by its own check, and nothing else; sound traces pass."""

import time

import pytest

from emsa_jax.answers.dc import DC
from emsa_jax.distill.checks import CHECKS, Truth, check, verdict
from emsa_jax.distill.teacher_options import FilterOptions

ALL = ("text", "audio", "video")
GOOD = {
    "en": "He says that the film was a waste of an evening. The voice drops at the end and slows down. The brows are "
    "knit and the mouth stays tight. Words, voice and face agree: he is annoyed.",
    "zh": "他的话里说电影不值得看，用词直接。声音在句尾下降，语速变慢。眉头紧锁，嘴角向下。三者一致，情感消极。",
}


def answer(think, polarity="Negative", score="-0.6"):
    return f"<polarity>{polarity}</polarity>\n<think>{think}</think>\n<score>{score}</score>"


def faults(text, tongue="en", shown=ALL, score=-0.8, finish="stop", **options):
    checks = check(text, finish, Truth(score, tongue, shown), DC(), FilterOptions(**options))
    assert tuple(checks) == CHECKS
    return [name for name, why in checks.items() if why]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_sound_trace_passes(language):
    assert faults(answer(GOOD[language]), language) == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (answer(GOOD["en"], "Positive", "0.6"), "polarity"),
        (answer(GOOD["en"], score="0.6"), "score_sign"),
        (GOOD["en"], "parse"),
        (answer(GOOD["en"]) + " That is all.", "parse"),
        (answer(GOOD["en"]).replace("</think>", ""), "parse"),
        (answer("The label says negative, and the words fit, as do the voice and the face of this man."), "leak"),
        (answer(GOOD["en"] + " As the given sentiment is negative, this fits."), "leak"),
        (answer(GOOD["en"] + " We were told that he is sad."), "leak"),
        (answer("The words are bitter, and the voice drops at the end of the line, as if he gave up."), "modalities"),
        (answer("Words, voice and face: bad."), "length"),
        (answer("The words, the face and the voice agree. " * 20), "repetition"),
        (answer(GOOD["zh"]), "language"),
    ],
)
def test_each_fault_has_its_check(text, name):
    assert faults(text) == [name]


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ("标签为消极。", "leak"),
        ("真实情感是消极的。", "leak"),
        ("根据给定的情感可知消极。", "leak"),
        ("This is in English. " * 12, "language"),
    ],
)
def test_faults_in_chinese(more, name):
    assert name in faults(answer(GOOD["zh"] + more), "zh")


@pytest.mark.parametrize("finish", ["length", "content_filter", "refusal"])
def test_an_answer_that_did_not_end(finish):
    assert "finished" in faults(answer(GOOD["en"]), finish=finish)


@pytest.mark.parametrize(
    ("think", "shown", "found"),
    [
        ("The words are bitter and final, he will not go there again, that much is plain.", ("text",), []),
        (
            "The words are bitter; his face is tense and he will not go there again, so it seems.",
            ("text",),
            ["absent_modality"],
        ),
        ("The words are bitter, the tone of the sentence is final, there is no video to go by here.", ("text",), []),
        (
            "The words are bitter. There is no audio, but the voice sounds tired and low in the end.",
            ("text",),
            ["absent_modality"],
        ),
        ("The face is tense, the brows are knit, the mouth is tight, and nothing is to be heard.", ("video",), []),
        (
            "The face is tense, and his voice drops at the end of what he has to say to us all.",
            ("audio",),
            ["absent_modality"],
        ),
    ],
)
def test_modalities_that_are_not_there(think, shown, found):
    assert faults(answer(think), shown=shown) == found


@pytest.mark.parametrize(
    "think",
    [
        "He was given a present and says so; the words are warm. The voice rises. A smile spreads over the whole face.",
        "Her words name the record that she was known for. The voice is level, the expression of the face is true to "
        "it.",
        "The score of the match is in his words, nothing else. The voice is dull. The face hardly moves at all.",
    ],
)
def test_words_that_only_look_like_a_leak(think):
    assert faults(answer(think)) == []


def test_what_is_asked_for_can_be_changed():
    silent = answer("The words are bitter and final, he will not go there again, that much is plain to all.")
    assert faults(silent, modalities=False) == []
    assert faults(answer(GOOD["en"] + " The label says so."), leaks=False) == []
    assert faults(answer(GOOD["en"]), leak_phrases=("A waste of",)) == ["leak"]
    assert faults(answer(GOOD["zh"]), language="any") == [] == faults(answer(GOOD["zh"]), language="zh")
    assert faults(answer(GOOD["en"]), score_gap=0.05) == ["score_sign"]
    assert faults(answer(GOOD["en"]), score_gap=0.2) == []


def test_the_reason_is_the_first_check_that_objects():
    checks = check(answer(GOOD["zh"], "Positive", "0.5"), "stop", Truth(-0.5, "en", ALL), DC(), FilterOptions())
    assert verdict(checks) == ("rejected", "polarity: the teacher's polarity is wrong")
    assert verdict(dict.fromkeys(CHECKS, "")) == ("accepted", "")


def test_any_text_is_looked_at_in_linear_time():
    pieces = (
        "the label of ",
        "<think>",
        "given ",
        "词",
        "<" * 10,
        "the true correct actual ",
        "\x00",
        "0" * 50,
        "no ",
        "sentiment is ",
        "voice ",
    )
    seconds = {}
    for size in (20_000, 80_000):
        for piece in pieces:
            text = answer((piece * size)[:size])
            begun = time.process_time()
            check(text, "stop", Truth(0.5, "en", ALL), DC(), FilterOptions())
            seconds[size, piece] = time.process_time() - begun
    for piece in pieces:
        assert seconds[80_000, piece] < max(20 * seconds[20_000, piece], 1.0), piece
