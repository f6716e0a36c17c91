"""Text appears as its tokens do: whole characters only, and nothing of a text at which the answer is to stop."""

import pytest

from emsa_jax.serving.answer_text import AnswerText
from emsa_jax.serving.engine import Delivery, DrawnToken


def deliveries(checkpoint, text, end=True):
    """A delivery for each token of a text."""
    ids = checkpoint.tokenizer(text, add_special_tokens=False)["input_ids"]
    yield from (Delivery((DrawnToken(id, -0.5),)) for id in ids)
    yield Delivery((DrawnToken(checkpoint.config.eos_token_id, -0.1),) if end else (), done=True, ended=end)


@pytest.mark.parametrize("end, finish", [(True, "stop"), (False, "length")])
def test_what_is_sent_adds_up_to_the_answer(served, end, finish):
    checkpoint, text = served.opened.checkpoint, "<think>words: good. 脸 face \U0001f642</think>\n"
    answer, sent = AnswerText(checkpoint), []
    for delivery in deliveries(checkpoint, text, end):
        sent.append(answer.add(delivery))
        assert "\ufffd" not in sent[-1]
    assert "".join(sent) == text == answer.text and answer.finish == finish and len(sent) > 10


@pytest.mark.parametrize("stop, left", [("</think>", "<think>good face"), ("face", "<think>good "), ("zzz", None)])
def test_an_answer_stops_before_a_stop_text(served, stop, left):
    checkpoint, text = served.opened.checkpoint, "<think>good face</think>\n"
    answer = AnswerText(checkpoint, [stop, "yyy"])
    sent = "".join(answer.add(delivery) for delivery in deliveries(checkpoint, text))
    assert sent == answer.text == (text if left is None else left) and answer.finish == "stop"


def test_an_answer_with_commands_is_marked_but_not_sent_so(served):
    checkpoint = served.opened.checkpoint
    answer = AnswerText(checkpoint)
    sent = answer.add(Delivery((DrawnToken(checkpoint.config.audio_token_id, 0.0),), done=True))
    assert sent == "<|AUDIO|>" == answer.text and answer.marked == "<|AUDIO|>\x00"
