"""Prompts, answers and hints as token ids, with a tiny policy's own tokenizer."""

import numpy as np
import pytest

from emsa_jax.answers.answer_format import Truth
from emsa_jax.answers.dc import DC
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.answers.labels import POLARITIES
from emsa_jax.data.records import Clip, Entry
from emsa_jax.errors import InputError
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.rollout.prompts import Prompter, answer_ids, answer_text, hint_ids, label_tokens
from emsa_jax.rollout.rollout_options import PromptOptions

FORMAT = DC((-1.0, 1.0))
ANSWERS = [
    FORMAT.write(p, "1. words: good, then bad.", s)
    for p, s in (("Positive", 0.6), ("Neutral", 0.0), ("Negative", -0.8))
]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny") / "policy"
    make_tiny(directory, ANSWERS * 3, seed=0, vocab_size=420)
    return open_checkpoint(directory, weights=False)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_survives_the_way_through_ids(checkpoint, answer):
    ids = answer_ids(checkpoint, answer)
    assert ids[-1] == checkpoint.config.eos_token_id and checkpoint.config.eos_token_id not in ids[:-1]
    assert answer_text(checkpoint, np.array(ids), ended=True) == answer
    assert FORMAT.parse(answer_text(checkpoint, np.array(ids), ended=True)).well_formed


def hint(polarity):
    return FORMAT.hint(Truth(polarity=polarity, score=0.0), "polarity")


def test_hints_are_the_first_ids_of_whole_answers(checkpoint):
    hints = hint_ids(checkpoint, FORMAT, FORMAT.hinted_truths([]), "polarity")
    assert list(hints) == list(map(hint, POLARITIES))
    for answer in ANSWERS:
        beginning = hints[hint(FORMAT.parse(answer).polarity)]
        assert answer_ids(checkpoint, answer)[: len(beginning)] == beginning
    for text, ids in hints.items():
        assert answer_text(checkpoint, np.array(ids), ended=False) == text


def test_the_label_is_told_from_its_tags(checkpoint):
    hints = hint_ids(checkpoint, FORMAT, FORMAT.hinted_truths([]), "polarity")
    for polarity in POLARITIES:
        ids, marked = hints[hint(polarity)], label_tokens(checkpoint, hint(polarity), polarity)
        assert len(marked) == len(ids) and 0 < sum(marked) < len(marked)
        named = np.array([id for id, of_name in zip(ids, marked, strict=True) if of_name])
        rest = np.array([id for id, of_name in zip(ids, marked, strict=True) if not of_name])
        assert polarity in answer_text(checkpoint, named, ended=False)
        assert set(answer_text(checkpoint, rest, ended=False)) <= set("</polarity>\n")


def test_a_hint_that_ends_inside_a_token_is_refused(checkpoint):
    class Short(DC):
        def hint(self, truth, level=""):
            return f"<polarity>{truth.polarity}</polarity>"  # without the line break

    with pytest.raises(InputError, match="hint.levels: .* is not how the tokenizer lets an answer begin"):
        hint_ids(checkpoint, Short((-1.0, 1.0)), FORMAT.hinted_truths([]), "polarity")
    format = LabelOnly((-1.0, 1.0))
    with pytest.raises(InputError, match="nothing to hint at"):
        hint_ids(checkpoint, format, format.hinted_truths([]), "polarity")


def test_special_tokens_and_ids_without_a_token_spoil_an_answer(checkpoint):
    ids = answer_ids(checkpoint, ANSWERS[0])[:-1]
    padded = checkpoint.config.text.vocab_size - 1
    assert padded >= len(checkpoint.tokenizer)
    for intruder in (checkpoint.config.bos_token_id, padded):
        assert not FORMAT.parse(answer_text(checkpoint, np.array([*ids, intruder]), ended=False)).well_formed
    assert FORMAT.parse(answer_text(checkpoint, np.array(ids), ended=False)).well_formed


@pytest.mark.parametrize(
    ("text", "shown"),
    [("SO GOOD I CRIED", "so good i cried"), ("So GOOD", "So GOOD"), ("12!", "12!"), ("好 OK", "好 ok")],
)
def test_words_in_capitals(checkpoint, text, shown):
    """Only where there is no small letter; and not unless it is asked for."""
    entry = Entry("a", text, 0.0, "test", "en", 0, 0, 0, 2.0, 0)
    clip = Clip("a", text, 0.0, "test", "en", np.zeros((0, 28, 28, 3), np.uint8), 2.0, np.zeros((0, 128), np.float32))
    kept, lowered = (Prompter(checkpoint, FORMAT, PromptOptions(capitals=how)) for how in ("kept", "lowered"))
    texts = [checkpoint.tokenizer.decode(prompter.row(clip).tokens) for prompter in (kept, lowered)]
    assert [f"Words: {said}<" in told for said, told in zip((text, shown), texts, strict=True)] == [True, True]
    assert lowered.length(entry) == len(lowered.row(clip).tokens)
