"""Descriptions: what is written comes back, and hostile text has the stated result, in linear time."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsa_jax.answers.describe import Describe, known_cues
from emsa_jax.answers.labels import SENTIMENTS
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

FORMAT = Describe(5)
THINK = (
    "In the video, she smiles; she nods. In the audio, her voice is bright. In the text, she says yes. "
    "Overall, she is glad."
)
SEEN, HEARD = "In the video, she smiles. she nods.", "In the audio, her voice is bright."
LAST = "Overall, she is glad. The sentiment is Weakly Positive."
GOOD = f"{SEEN}\n{HEARD}\n{LAST}"
CUES = (
    ("visual", "she smiles."), ("visual", "she nods."), ("auditory", "her voice is bright."),
    ("emotional", "she is glad."),
)  # fmt: skip
KNOWN = (("visual", "she smiles"), *CUES[1:])  # as a description has them
CHINESE = "视频中，男子皱着眉头。\n音频中，语速缓慢。\n综上，他很难过。情感是消极。"


def clip(score, **given):
    return Sample("a", "hey", score, "train", **given)


def test_a_description_goes_out_and_comes_back():
    assert FORMAT.write("", THINK, 0.4) == GOOD
    answer = FORMAT.parse(GOOD)
    assert answer.well_formed and answer.is_read and answer.think == GOOD
    assert (answer.polarity, answer.sentiment, answer.cues) == ("Positive", "Weakly Positive", CUES)
    assert FORMAT.write("", answer.think, 0.4) == GOOD  # a trace's text can be written again
    assert FORMAT.write("", "在视频中，男子皱着眉头。音频中，语速缓慢。综上，他很难过。", -0.8) == CHINESE
    assert FORMAT.parse(CHINESE).well_formed and FORMAT.parse(CHINESE).sentiment == "Negative"


@pytest.mark.parametrize("asks, part, cues", [("visual", SEEN, CUES[:2]), ("audio", HEARD, CUES[2:3])])
def test_an_answer_about_one_branch_has_that_part_alone(asks, part, cues):
    format = FORMAT.about(asks)
    assert format.write("", THINK, 0.4) == f"{part}\n{LAST}"
    answer = format.parse(f"{part}\n{LAST}")
    assert answer.well_formed and answer.cues == (*cues, CUES[3])
    assert format.parse(GOOD).notes == ("a part is not asked about",)
    other = FORMAT.about({"visual": "audio", "audio": "visual"}[asks])
    assert "nothing is said of what is" in other.parse(f"{part}\n{LAST}").notes[0]
    with pytest.raises(InputError, match="it says nothing of what is"):
        other.write("", part, 0.4)
    words = format.ask(["text", "video" if asks == "visual" else "audio"], "en")
    assert part[:12] in words and (HEARD if asks == "visual" else SEEN)[:12] not in words


HOSTILE = {
    "": ("emotional part is absent", "sentiment is absent", "nothing is said of what is seen or heard"),
    GOOD + "\n" + SEEN: ("visual part is repeated", "sentiment is absent", "parts are out of order"),
    GOOD.replace("she nods", "she nods In the audio, loudly"): ("auditory part is repeated",),
    GOOD.replace("she is glad", "The sentiment is Negative"): ("sentiment is repeated",),
    GOOD.replace("Weakly Positive", "Weakly Positive or Negative"): ("sentiment is not one of",),
    GOOD.replace("Weakly Positive", "Ｐositive"): ("sentiment is not one of",),
    GOOD + " I am sure.": ("sentiment is not one of",),
    GOOD.replace(LAST, "The sentiment is Positive."): (
        "emotional part is absent",
        "sentiment is not one of",
        "text stands outside",
    ),
    f"{HEARD}\n{SEEN}\n{LAST}": ("parts are out of order",),
    "Well:\n" + GOOD: ("text stands outside",),
    GOOD.replace("she smiles. she nods.", ". !"): ("visual part is empty",),
    GOOD.replace("glad", "<b>glad</b>"): ("a null byte, tag",),
    GOOD + "\x00": ("sentiment is not one of", "a null byte"),
    f"The sentiment is Negative.\n{GOOD}": ("sentiment contradicts itself",),
    f"The sentiment is Weakly Positive.\n{GOOD}": (),
}


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_has_the_stated_notes(text):
    notes, wanted = FORMAT.parse(text).notes, HOSTILE[text]
    assert len(notes) == len(wanted), notes
    assert all(note.startswith(begin) for note, begin in zip(notes, wanted, strict=True)), notes
    repeated = any(note.startswith(("sentiment is repeated", "sentiment contradicts")) for note in notes)
    assert FORMAT.contradicts(FORMAT.parse(text)) == repeated


def test_a_cue_that_is_repeated_counts_once():
    answer = FORMAT.parse(GOOD.replace("she nods.", "she smiles. " * 50))
    assert answer.cues == (CUES[0], *CUES[2:])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([SEEN, HEARD, LAST, "In the video,", "Overall,", "The sentiment is ", "\n", " x. ",
                                 "综上，", "情感是", "Positive.", "<think>"]), max_size=12))  # fmt: skip
def test_any_text_is_read(pieces):
    answer = FORMAT.parse("".join(pieces))
    assert not answer.well_formed or (answer.sentiment in SENTIMENTS[5] and answer.cues)


def test_long_hostile_texts_are_read_in_linear_time():
    begun = time.perf_counter()
    for piece in ("In the video, ", "Overall,\n", "The sentiment is ", "x. ", "\n", "。", "In the audio, x.\n"):
        FORMAT.parse(piece * 20_000)
    assert time.perf_counter() - begun < 5


def test_what_is_known_of_a_clip():
    labelled = clip(0.4, concepts=(("expression", "happy"), ("tone", "casual"), ("scenario", "vlogs")))
    known = (("visual", "The expression is happy."), ("auditory", "The tone of voice is casual."))
    assert known_cues(labelled) == FORMAT.truth(labelled).cues == known
    assert FORMAT.parse(FORMAT.write("", FORMAT.describe(FORMAT.truth(labelled)), 0.4)).cues == known
    assert known_cues(clip(0.4, reasoning=THINK)) == KNOWN and known_cues(clip(0.4)) == ()
    assert FORMAT.describe(FORMAT.truth(clip(0.4))) == ""
    zh = clip(-0.8, language="zh", concepts=(("expression", "sad"),))
    assert FORMAT.describe(FORMAT.truth(zh)) == "视频中，表情是sad。"


def test_the_name_of_an_emotion_stands_for_its_class():
    """MER-Caption+ and EMER have names in place of scores."""
    for label, sentiment in (("happy, relieved", "Positive"), ("sad", "Negative"), ("surprised", None), ("", None)):
        truth = Describe(3).truth(clip(None, label=label, reasoning=THINK))
        assert (truth and truth.sentiment) == sentiment
        assert truth is None or truth.cues == KNOWN


def test_traces_of_a_teacher_are_checked():
    truth = FORMAT.truth(clip(0.4))
    assert FORMAT.trace_error("", THINK, 0.4, truth) == ""
    assert FORMAT.trace_error("", THINK, -0.8, truth) == "the teacher's sentiment is wrong"
    assert "it says nothing of what is seen or heard" in FORMAT.trace_error("", "so", 0.4, truth)
