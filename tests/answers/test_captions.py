"""What clips are described with."""

from types import SimpleNamespace

import pytest

from emsa_jax.answers.captions import MIN_TRANSCRIPTS, Captions
from emsa_jax.errors import InputError


def clip(score=None, label="", text="", language="en", concepts=()):
    return SimpleNamespace(score=score, label=label, text=text, language=language, concepts=concepts)


def captions(kind):
    words = {"Negative": "angry", "Positive": "happy", "sad": "gloomy"}
    return Captions(kind=kind, words=words, score_range=(-3.0, 3.0), neutral_eps=0.0)


def test_words_are_those_of_the_class_or_the_class_itself():
    of = captions("words").text
    assert [of(clip(-1.0)), of(clip(0.0)), of(clip(2.0))] == ["angry", "neutral", "happy"]
    assert [of(clip(-1.0, label="sad")), of(clip(None, label="Surprise")), of(clip())] == ["gloomy", "surprise", ""]


def test_captions_say_class_strength_and_concepts():
    of = captions("captions").text
    assert of(clip(-3.0)) == "The speaker is very angry."
    assert of(clip(0.5, concepts=(("tone", "sarcastic"),))) == "The speaker is slightly happy. tone: sarcastic."
    assert of(clip(None, label="sad")) == "The speaker is gloomy."
    assert of(clip(1.5, language="zh")) == "说话人happy。"


def test_transcripts_need_many_different_ones():
    few = [clip(text=f"sentence {i % 3}") for i in range(500)]
    with pytest.raises(InputError, match=f"align.targets=transcripts.*3 different.*at least {MIN_TRANSCRIPTS}"):
        captions("transcripts").texts(few)
    many = [clip(text=f" sentence \n {i} ") for i in range(MIN_TRANSCRIPTS)]
    assert captions("transcripts").texts(many)[7] == "sentence 7"


def test_one_description_teaches_nothing():
    with pytest.raises(InputError, match="align.targets=words.*1 different.*label them"):
        captions("words").texts([clip(1.0), clip(2.0), clip()])


def test_what_is_asked():
    for kind in ("words", "captions", "transcripts"):
        english, chinese = (captions(kind).ask(["audio"], language) for language in ("en", "zh"))
        assert english.isascii() and not chinese.isascii() and captions(kind).ask([], "fr") == english
