"""Rows of predictions: votes, breakdowns, checks of the reasoning, answers on disk."""

import numpy as np
import pytest

from emsa_jax.answers.answer_format import Answer
from emsa_jax.answers.dc import DC
from emsa_jax.data.records import Entry
from emsa_jax.errors import InputError
from emsa_jax.evaluation.breakdowns import about, agreement, breakdowns, hardness
from emsa_jax.evaluation.journal import Answered, Journal, read_answers
from emsa_jax.evaluation.predictions import prediction_rows, summarize, summarize_labels
from emsa_jax.evaluation.reasoning import ignored_hints, reasoning_checks, repetition
from emsa_jax.evaluation.vote import combine
from emsa_jax.rewards.score_answers import AnswerScorer


def said(polarity=None, score=None):
    return Answer(polarity=polarity, think="clear voice", score=score)


def entry(id="a", score=0.5, **given):
    fields = {
        "text": "words",
        "split": "test",
        "language": "en",
        "num_frames": 4,
        "height": 56,
        "width": 56,
        "frame_rate": 2.0,
        "mel_frames": 100,
    }
    return Entry(id=id, score=score, **{**fields, **given})


def test_the_majority_and_the_mean():
    answers = [said("Positive", 0.2), said("Negative", -0.9), said("Positive", 0.6), said()]
    assert combine(answers, "greedy")[:2] == ("Positive", 0.2)
    assert combine(answers, "majority")[:2] == ("Positive", pytest.approx(0.4))
    assert combine(answers, "mean") == ("Negative", pytest.approx(-0.1 / 3), 0)
    assert combine([said("Negative", -1.0), said("Positive", 0.5), said("Positive", 0.5)], "majority").chosen == 1
    tie = [said("Positive", 0.1), said("Negative", -0.9)]
    assert combine(tie, "majority")[:2] == ("Negative", -0.9)  # the mean score leans there
    assert combine([said("Neutral", 0.0), said("Positive", None)], "majority")[0] == "Neutral"
    assert combine([said(), said()], "majority")[:2] == combine([said()], "mean")[:2] == (None, None)
    assert combine([said(None, 0.4)], "majority")[:2] == (None, 0.4)
    assert combine([said("Positive")], "majority")[:2] == ("Positive", None)


def test_what_clips_are_grouped_by():
    unimodal = tuple((f"label_{m}", value) for m, value in zip("TAV", ("0.4", "-0.2", "0.0"), strict=True))
    kinds = about(entry(speaker="s1", concepts=(("scenario", "vlogs"), ("tone", "sad"), *unimodal)))
    assert kinds == {"scenario": "vlogs", "speaker": "s1", "duration": "2 to 5 s", "agreement": "modalities contradict"}
    assert agreement([0.2, 0.4, 1]) == "modalities agree" and agreement([0.2, 0, 1]) == "one side neutral"
    assert [hardness(r, 2.0) for r in ([1, 1.9], [1, 2], [2, 3])] == ["hard", "mixed", "easy"]
    assert about(entry(num_frames=0, mel_frames=0)) == {}


def test_breakdowns_partition_the_clips():
    rng = np.random.default_rng(0)
    rows = [
        {
            "target": float(t),
            "score": float(t) if right else None,
            "polarity": "Positive" if t > 0 else "Negative",
            "about": {
                "scenario": f"s{i % 3}",
                "speaker": f"p{i % 40}",
                "hardness": ("easy", "hard")[i % 2],
                "one": "x",
            },
        }
        for i, (t, right) in enumerate(zip(rng.choice([-0.6, 0.4], 200), rng.random(200) < 0.8, strict=True))
    ]
    found = breakdowns(rows, "sims")
    assert found.keys() == {"scenario", "speaker", "hardness"}  # one group alone is no breakdown
    for groups in found.values():
        assert sum(group["n"] for group in groups.values()) == 200
    assert list(found["hardness"]) == ["hard", "easy"] and len(found["speaker"]) == 13 and "others" in found["speaker"]
    members = [row for row in rows if row["about"]["scenario"] == "s1"]
    unread = np.mean([row["score"] is None for row in members])
    assert found["scenario"]["s1"]["parse_rate"] == pytest.approx(1 - unread)
    assert found["scenario"]["s1"]["acc2"] == pytest.approx(1 - unread)  # an unread score is the worst one
    wrong = [row["score"] is None and row["target"] > 0 for row in members]  # an unread score is 0, here negative
    neutral = breakdowns(rows, "sims", "neutral")
    assert neutral["scenario"]["s1"]["acc2"] == pytest.approx(1 - np.mean(wrong))


def test_checks_of_the_reasoning():
    row = {"polarity": "Positive", "score": 0.5, "shown": ["text", "video", "audio"]}
    rows = [
        row | {"think": "The words are kind. A wide smile. The voice rises."},
        row | {"think": "Words and face only, words and face only.", "score": -0.5},
        row | {"think": "语气低沉，表情冷淡", "polarity": None},
        row | {"think": None, "shown": ["text"]},
        row | {"think": "same"},
        row | {"think": "same", "shown": []},
    ]
    found = reasoning_checks(rows)
    assert found["read"] == pytest.approx(5 / 6) and found["sign_agrees"] == 4 / 5
    assert found["mentions"] == {"text": 0.5, "video": 0.75, "audio": 0.5}
    assert found["all_mentioned"] == pytest.approx(2 / 5) and found["copied"] == pytest.approx(2 / 5)
    assert found["words"] == pytest.approx((10 + 8 + 8 + 1 + 1) / 5) and found["concepts"] == {}
    assert repetition("a b c d") == 0 and repetition("go on go on go on go on") == pytest.approx(1 - 2 / 6)
    tagged = [
        {"concepts": {"tone": "Sad"}, "target_concepts": {"tone": "sad", "style": "x"}},
        {"concepts": {}, "target_concepts": {"tone": "sad"}},
    ]
    assert reasoning_checks([row | {"think": "x"} | more for more in tagged])["concepts"] == {"tone": 0.5, "style": 0.0}
    assert reasoning_checks([])["read"] is None


def test_hints_that_are_ignored():
    hinted = [
        (said("Positive", 0.5), "Positive"),
        (said("Positive", -0.5), "Positive"),
        (said(None, 0.5), "Positive"),
        (said("Negative", None), "Negative"),
    ]
    assert ignored_hints(hinted) == 0.5 and ignored_hints([]) is None


FORMAT = DC((-1.0, 1.0))
GOOD, BAD = FORMAT.write("Positive", "clear voice", 0.4), FORMAT.write("Negative", "a frown", -0.8)


def rows_of(way="greedy"):
    entries = [entry("a", 0.5), entry("b", -0.6, label="sad"), entry("c", None)]
    sampled = [[GOOD, GOOD, "x"], [GOOD, BAD, BAD], [BAD, BAD, BAD]]
    greedy = [[GOOD], ["no"], [BAD]]
    tables = [AnswerScorer(format=FORMAT)(entries, texts) for texts in (greedy, sampled)]
    written = way in ("greedy", "expected")
    return prediction_rows(
        entries,
        greedy if written else sampled,
        tables[not written],
        tables[1],
        decode=way,
        neutral_eps=0.0,
        modalities=("text", "video"),
        format=FORMAT,
        scores=[[0.123], [None], [0.25]] if way == "expected" else (),
    )


def test_rows_hold_what_was_decided():
    rows = rows_of()
    assert [row["score"] for row in rows] == [0.4, None, -0.8] and rows[1]["answer"] == "no"
    assert rows[0]["shown"] == ["text", "video"] and rows[1]["target_label"] == "sad"
    assert rows[0]["sampled_rewards"] == pytest.approx([2.95, 2.95, 0]) and rows[0]["rewards"]["total"] == 2.95
    expected = rows_of("expected")  # the score alone is another one; what cannot be expected is as it was read
    assert [row["score"] for row in expected] == [0.123, None, 0.25]
    assert [row | {"score": None} for row in expected] == [row | {"score": None} for row in rows]
    assert rows_of("majority")[1]["polarity"] == "Negative" and rows_of("mean")[1]["score"] == pytest.approx(-0.4)
    assert rows_of("majority")[1]["answer"] == BAD


def test_a_summary_counts_every_clip():
    found = summarize(rows_of(), (-1.0, 1.0), "neutral", 0.0, [0.1, 0.3], resamples=50)
    assert found["clips"] == 3 and found["metrics"]["n"] == found["polarity"]["n"] == 2
    assert found["metrics"]["parse_rate"] == found["polarity"]["ACC"] == 0.5
    assert sum(map(sum, found["polarity"]["confusion"])) == 2 and len(found["polarity"]["confusion"]) == 4
    assert found["intervals"]["Polarity_acc"] == (0, 1) and found["controls"]["random"]["Polarity_acc"] == 0.5
    assert found["floor"] == found["controls"]["constant"] and found["reasoning"]["read"] == pytest.approx(2 / 3)
    labels = summarize_labels([0, -1, 1], [0, 1, 1], ("low", "high"), 50)
    assert labels["labels"]["n"] == 3 and labels["labels"]["ACC"] == pytest.approx(2 / 3)


def test_shuffled_answers_keep_their_polarity():
    """Answers that name the polarity and whose score cannot be read are still right as often as chance has it."""
    rows = [
        {
            "id": str(i),
            "target": t,
            "target_polarity": "Positive" if t > 0 else "Negative",
            "score": None,
            "polarity": "Positive" if t > 0 else "Negative",
            "about": {},
        }
        for i, t in enumerate([0.5, -0.5] * 100)
    ]
    found = summarize(rows, (-1.0, 1.0), "neutral", 0.0, [0.5])
    assert found["metrics"]["Polarity_acc"] == 1
    assert 0.4 < found["controls"]["shuffled"]["Polarity_acc"] < 0.6
    assert found["controls"]["shuffled"]["parse_rate"] == 0 and found["controls"]["random"]["parse_rate"] == 1


def test_intervals_and_breakdowns_are_of_what_was_named_and_of_the_options():
    """Scores that cannot be read beside a polarity that can; a neutral zone, and unparsed answers at the wrong end."""
    rows = [
        {
            "id": str(i),
            "target": t,
            "target_polarity": "Positive",
            "score": None,
            "polarity": "Positive",
            "about": {"speaker": "ada" if i % 2 else "bob"},
        }
        for i, t in enumerate([0.5, 0.5] * 20)
    ]
    found = summarize(rows, (-1.0, 1.0), "worst", 0.0, [], resamples=50)
    assert found["intervals"]["Polarity_acc"] == (1, 1) and found["floor"] is None
    assert found["controls"].keys() == {"shuffled"}  # nothing was learned from: there is no mean of it
    assert found["breakdowns"]["speaker"]["ada"]["mae"] == found["metrics"]["MAE"] > 1
    near = [row | {"target": 0.1, "target_polarity": "Neutral", "score": 0.05, "polarity": "Neutral"} for row in rows]
    found = summarize(near, (-1.0, 1.0), "neutral", 0.2, [0.1, 0.1])
    assert found["breakdowns"]["speaker"]["ada"]["polarity_acc"] == found["metrics"]["Polarity_acc"] == 1
    assert found["floor"]["Polarity_acc"] == 1  # always 0.1, which is neutral here


@pytest.mark.parametrize(
    "row",
    [
        '{"id": "a", "texts": "abc", "ended": []}',
        '{"id": "a", "texts": [5], "ended": [true]}',
        '{"id": [], "texts": ["x"], "ended": [true]}',
        '{"id": "a", "texts": ["x", "y"], "ended": [true]}',
        '{"id": "a", "texts": ["x"], "ended": [true], "scores": ["x"]}',
    ],
)
def test_answers_that_nobody_gave(tmp_path, row):
    (tmp_path / "0of1.jsonl").write_text(row + "\n")
    with pytest.raises(InputError, match="0of1.jsonl, line 1 is damaged; remove the file"):
        read_answers(tmp_path)


def test_answers_survive(tmp_path):
    journal = Journal(tmp_path)
    journal.write(["a", "b"], [Answered(["x\ud800", "y"], [True, False]), Answered(["\u2028"], [True])])
    journal.close()
    with open(tmp_path / "0of1.jsonl", "ab") as file:
        file.write(b'{"id": "c", "te')  # a kill
    assert read_answers(tmp_path).keys() == {"a", "b"}
    journal = Journal(tmp_path)
    journal.write(["c"], [Answered(["z"], [True])])
    journal.close()
    other = Journal(tmp_path, 1, 2)
    other.write(["d"], [Answered(["w", "v"], [True, True], [0.25, None])])
    other.close()
    found = read_answers(tmp_path)
    assert found["a"] == (["x\ud800", "y"], [True, False], ()) and found["d"].scores == (0.25, None)
    (tmp_path / "0of1.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="0of1.jsonl, line 1 is damaged"):
        read_answers(tmp_path)
