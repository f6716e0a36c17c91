"""Traces: read strictly, filtered by the truth, corrected, and every loss accounted for."""

import json

import pytest

from emsa_jax.answers.dc import DC
from emsa_jax.answers.traces import Trace, filter_traces, read_traces
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError


def row(**change):
    return json.dumps({"id": "a", "polarity": "Positive", "think": "ok", "score": 0.5} | change)


def test_reading(tmp_path):
    path = tmp_path / "traces.jsonl"
    first = json.dumps(json.loads(row(think="so\u2028what")), ensure_ascii=False)
    path.write_text("\ufeff" + first + "\n\n" + row(id="b", score=-1) + "\n", encoding="utf-8")
    expected = [Trace("a", "Positive", "so\u2028what", 0.5), Trace("b", "Positive", "ok", -1.0)]
    assert read_traces(path) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not a JSON object"),
        ("[1]", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        (row(id=7), "'id' must be a string"),
        (row(think=None), "'think' must be a string"),
        (row(score="0.5"), "'score' must be a number"),
        (row(score=True), "'score' must be a number"),
        (row(score=float("nan")), "'score' must be finite"),
        (row(score=10**400), "'score' must be finite"),
        ('{"id": "b"}', "'polarity' must be a string"),
        (row(), "id 'a' stands already on line 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    path = tmp_path / "traces.jsonl"
    path.write_text(row() + "\n" + line + "\n")
    with pytest.raises(InputError) as error:
        read_traces(path)
    assert f"{path}, line 2: " in str(error.value)
    assert message in str(error.value)


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        read_traces(tmp_path / "nowhere.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="latin"):
        read_traces(tmp_path / "latin.jsonl")


def test_filter_keeps_what_agrees_and_puts_the_true_score_in():
    traces = [
        Trace("right", "Positive", "fine", 0.2),
        Trace("wrong class", "Negative", "fine", -0.2),
        Trace("torn", "Positive", "fine", -0.2),
        Trace("unknown", "Positive", "fine", 0.2),
        Trace("unlabelled", "Positive", "fine", 0.2),
        Trace("empty", "Positive", " ", 0.2),
        Trace("tagged", "Positive", "so </think> it is", 0.2),
        Trace("calm", "Neutral", "flat", 0.0),
        Trace("far", "Negative", "fine", -50.0),
    ]
    scores = {t.id: 0.8 for t in traces} | {"unlabelled": None, "calm": 0.0, "far": -0.4}
    del scores["unknown"]
    clips = {id: Sample(id, "", score, "train") for id, score in scores.items()}
    kept, rejected = filter_traces(traces, clips, DC())
    assert [(t.id, t.score) for t in kept] == [("right", 0.8), ("calm", 0.0), ("far", -0.4)]
    assert rejected == {
        "wrong class": "the teacher's polarity is wrong",
        "torn": "the teacher's score contradicts its polarity",
        "unknown": "no train clip of this id, or no true score",
        "unlabelled": "no train clip of this id, or no true score",
        "empty": "cannot be written as an answer with score 0.8",
        "tagged": "cannot be written as an answer with score 0.8",
    }


def test_the_neutral_band_holds_for_both_sides():
    kept, _ = filter_traces(
        [Trace("a", "Neutral", "flat", 0.1)], {"a": Sample("a", "", -0.05, "train")}, DC(neutral_eps=0.1)
    )
    assert [t.score for t in kept] == [-0.05]


def test_the_filter_drops_agreements_that_are_not_there():
    contradicting = tuple(zip(("label_T", "label_A", "label_V"), ("-0.8", "0.6", "0.6"), strict=True))
    clips = {id: Sample(id, "", 0.6, "train", concepts=contradicting) for id in "abc"}
    traces = [
        Trace("a", "Positive", "words: awful. face: smile. voice: rising. all agree.", 0.6),
        Trace("b", "Positive", "words: awful. face: smile. voice: rising. face and voice decide.", 0.6),
        Trace("c", "Positive", "all agree.", 0.6),
    ]
    kept, rejected = filter_traces(traces, clips, DC((-1.0, 1.0)))
    assert [trace.id for trace in kept] == ["b"]
    assert "own claims deny" in rejected["a"] and "not there" in rejected["c"]
