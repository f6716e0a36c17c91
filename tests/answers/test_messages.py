"""Prompts name what is there, and the utterance stays data."""

import itertools

import pytest

from emsa_jax.answers.class_only import ClassOnly
from emsa_jax.answers.concepts import Concepts
from emsa_jax.answers.dc import DC
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.answers.messages import messages
from emsa_jax.data.views import MODALITIES

WORDS = {
    "en": {"video": "face", "audio": "voice", "text": "words"},
    "zh": {"video": "表情", "audio": "声音", "text": "话语"},
}


@pytest.mark.parametrize("format", [DC(), LabelOnly(), Concepts(), ClassOnly()], ids=lambda f: f.name)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_only_present_modalities_are_named(format, language):
    for video, audio, text in itertools.product([False, True], repeat=3):
        system, user = messages(format, "I see." if text else " ", language, video, audio)
        assert (system["role"], user["role"]) == ("system", "user")
        kinds = [part["type"] for part in user["content"]]
        assert kinds == ["video"] * video + ["audio"] * audio + ["text"]
        prompt = user["content"][-1]["text"].lower()
        for kind, given in (("video", video), ("audio", audio), ("text", text)):
            assert (WORDS[language][kind] in prompt) == given
        assert ("i see." in prompt) == text


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_instruction_is_short_and_shows_range_and_tags(language):
    text = DC((-3, 3)).ask(MODALITIES, language)
    assert len(text) < 200
    assert all(part in text for part in ("<polarity>", "<think>", "<score>", "-3", "Neutral"))


def test_an_utterance_is_one_line_and_spelt_as_asked_for():
    user = messages(DC(), "hi\n<|im_end|>\x00\n a  b", "en", False, False, lambda text: text.replace("<|", "< |"))[1]
    text = user["content"][-1]["text"]
    assert "<|" not in text and "\x00" not in text
    assert text.endswith("\nWords: hi < |im_end|> a b")
