"""Claims of answers are counted against what is known of clips, and never against what is not."""

import numpy as np
import pytest

from emsa_jax.answers.answer_format import Answer
from emsa_jax.data.records import Entry
from emsa_jax.evaluation.explanations import claims_row, explanations, false_claims

ALL = ("text", "audio", "video")


def row(think, signs, polarity="Positive", shown=ALL):
    """A row of predictions about a clip with a score of -1 to 1 for words, face and voice each; () for none known."""
    names = ("label_T", "label_V", "label_A")
    concepts = tuple((name, str(score)) for name, score in zip(names, signs, strict=False))
    entry = Entry(
        id="a",
        text="so",
        score=0.4,
        split="test",
        language="en",
        num_frames=4,
        height=56,
        width=56,
        frame_rate=2.0,
        mel_frames=100,
        concepts=concepts,
    )
    answer = Answer(polarity=polarity, think=think)
    return {"polarity": polarity, "claims": claims_row(answer, entry, shown, (-1.0, 1.0), 0.0)}


TRUE = row("words: good. face: clear smile. voice: rising. all agree.", (0.4, 0.8, 0.8))
NAMED = row("words: awful. face: clear smile. voice: rising. face and voice decide.", (-0.8, 0.8, 0.8))
LIES = row("words: awful. face: slight frown. voice: rising. all agree.", (-0.8, 0.8, 0.8), "Negative")
SILENT = row("So it is.", (-0.4, 0.4, 0.4), "Negative")
UNKNOWN = row("words: awful. face: frown.", ())


def test_claims_are_counted_over_all_clips():
    found = explanations([TRUE, NAMED, LIES, SILENT, UNKNOWN])
    true, false, missing = 4 + 4 + 2 + 0, 0 + 0 + 2 + 0, 0 + 0 + 2 + 4
    assert found["clips"] == 4 and found["claiming"] == 3
    assert found["precision"] == true / (true + false) and found["recall"] == true / (true + missing)
    assert found["f1"] == pytest.approx(2 * true / (2 * true + false + missing))
    assert found["no_false"] == 3 / 4
    assert found["supports"] == 3 / 5 and found["contradicts"] == 1 / 5
    assert found["agrees_falsely"] == 1 / 5 and found["not_shown"] == 0


def test_contradicting_clips_are_counted_alone_too():
    found = explanations([TRUE, NAMED, LIES, SILENT, UNKNOWN])["contradicting"]
    assert found["clips"] == 3 and found["no_false"] == 2 / 3 and found["claiming"] == 2
    assert found["f1"] == pytest.approx(2 * 6 / (2 * 6 + 2 + 6))
    assert found["named"] == found["named_truly"] == 1 / 3
    made_up = row("words: good. face: smile. voice: rising. face and voice decide.", (-0.8, 0.8, 0.8))
    found = explanations([NAMED, made_up])["contradicting"]
    assert (found["named"], found["named_truly"]) == (1.0, 0.5)


def test_degrees_have_an_f1_of_their_own():
    assert explanations([TRUE])["finer"] == {
        "clips": 1,
        "f1": pytest.approx(2 * 2 / (2 * 2 + 0 + 1)),
    }
    assert explanations([LIES])["finer"]["f1"] == pytest.approx(2 * 1 / (2 * 1 + 1 + 2))


def test_where_nothing_is_known_nothing_is_said():
    found = explanations([UNKNOWN, UNKNOWN], 20)
    assert found["clips"] == 0
    assert [found[name] for name in ("f1", "precision", "recall", "no_false")] == [None] * 4
    assert found["contradicting"]["named"] is None and found["finer"] == {"clips": 0, "f1": None}
    assert explanations([{"polarity": "Positive"}]) is None  # a format without reasoning


def test_what_was_not_shown_is_a_false_claim():
    blind = row("words: good. face: smile.", (0.4, 0.4, 0.4), shown=("text",))
    assert blind["claims"]["owed"] == [["words", "positive"]]
    assert false_claims(blind) == [["face", "not shown"]]
    found = explanations([blind])
    assert (found["precision"], found["no_false"], found["not_shown"]) == (0.5, 0.0, 1.0)
    assert false_claims({"id": "a"}) == []
    assert false_claims(LIES) == [["agreement", "yes"], ["face", "negative"]]


def test_intervals_hold_the_numbers():
    rows = [TRUE, NAMED, LIES, SILENT] * 16
    found = explanations(rows, 200)
    for one in (found, found["contradicting"]):
        assert one["intervals"].keys() == {"f1", "no_false"} | ({"named", "named_truly"} if one is not found else set())
        for name, (low, high) in one["intervals"].items():
            assert low <= one[name] <= high and high - low < 0.5
    assert np.isfinite(found["intervals"]["f1"]).all()
