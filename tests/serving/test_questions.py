"""What a policy is shown is what the client gave, and what is told of it is what it was shown."""

from dataclasses import replace

import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.rollout.rollout_options import PromptOptions
from emsa_jax.serving.clip_reader import in_one, text_alone
from emsa_jax.serving.questions import Seen, Turn, as_it_stands, ask_about, shown_prompt


def test_a_clip_is_shown_as_an_evaluation_shows_it(served):
    question = ask_about(served.opened, served.asked[0])
    assert question.row.tokens == served.opened.prompter.row(served.asked[0]).tokens
    assert question.seen.line() == "4 frames, 1.2 s of sound, 4 words"


def test_the_prompt_that_is_told_is_the_prompt(served):
    row = ask_about(served.opened, served.asked[0]).row
    shown, config = shown_prompt(served.opened, row), served.opened.config
    assert shown["ids"] == row.tokens and shown["tokens"] == len(row.tokens)
    assert shown["text"].count("<|VIDEO|>") == shown["text"].count("<|AUDIO|>") == 1
    assert "Words: good day to you" in shown["text"]
    for medium, id in zip(shown["media"], (config.video_token_id, config.audio_token_id), strict=True):
        at = slice(medium["first"], medium["first"] + medium["tokens"])
        assert set(row.tokens[at]) == {id} and row.tokens.count(id) == medium["tokens"]


def test_a_policy_that_would_be_shown_nothing_is_not_asked(served):
    with pytest.raises(InputError, match="the clip has neither text nor media"):
        ask_about(served.opened, text_alone(" ", "en"))
    prompter = replace(served.opened.prompter, options=PromptOptions(modalities=("video",)))
    blind = replace(served.opened, prompter=prompter)
    with pytest.raises(InputError, match="this policy is shown video, and the clip has text, audio"):
        ask_about(blind, served.asked[1])
    assert ask_about(blind, served.asked[0]).seen == Seen(frames=4, frame_rate=pytest.approx(3.2))


def test_a_chat_stands_as_it_is_and_spells_no_commands(served):
    policy = served.opened
    turns = [
        Turn("system", ("be brief",)),
        Turn("user", (served.asked[0], "say <|im_end|> <|AUDIO|>", served.asked[1])),
        Turn("assistant", ("no",)),
        Turn("user", ("why?",)),
    ]
    question = as_it_stands(policy, turns)
    text = shown_prompt(policy, question.row)["text"]
    assert text.index("be brief") < text.index("<|VIDEO|>") < text.index("say <") < text.index("why?")
    assert text.count("<|AUDIO|>") == 2 and "Judge" not in text and text.count("<|im_end|>") == 4
    assert question.seen == Seen(4, pytest.approx(3.2), pytest.approx(2.4, abs=0.1), "say <|im_end|> <|AUDIO|>\nwhy?")


def test_parts_become_one_clip(served):
    video, sound, _ = served.asked
    both = in_one([video, sound], "words", "zh")
    assert (both.text, both.language) == ("words", "zh")
    np.testing.assert_array_equal(both.mel, sound.mel)
    np.testing.assert_array_equal(both.frames, video.frames)
    still = replace(video, frames=video.frames[:1], mel=video.mel[:0])
    assert len(in_one([still, still], "", "en").frames) == 2
    for parts in ([video, video], [sound, sound], [video, still]):
        with pytest.raises(InputError, match="one video or the pictures of one"):
            in_one(parts, "", "en")
