"""The annotation job, as a user starts it."""

import csv
import json
from collections import Counter

import numpy as np
import pytest

from emsa_jax.answers.labels import sentiment_of
from emsa_jax.data.annotation.agreement import fleiss_kappa
from emsa_jax.data.readers import read_samples

FILES = {"labels.csv", "again.csv", "agreement.json"}
# class of five, items, positive (or negative) votes of five: the totals of CH-CEMS' table 6
PAPER = (
    ("Negative", 279, -5),
    ("Weakly Negative", 565, -2),
    ("Neutral", 1521, 0),
    ("Weakly Positive", 965, 3),
    ("Positive", 385, 4),
)
MAJORITY = {"tone": ("sad", "sad", "sad", "angry", "happy"), "expression": ("sad", "sad", "angry", "angry", "happy")}


@pytest.fixture
def start(started):
    """(arguments) -> (exit status, stdout, stderr) of a start with configs/annotate.py."""

    def start(*arguments, config="configs/annotate.py"):
        return started(*arguments, config=config)

    return start


def write(path, rows, names=("item", "annotator", "field", "value")):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])
    return path


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def ballots(item, field, values):
    return [(item, f"p{i}", field, value) for i, value in enumerate(values)]


def test_the_papers_totals_give_its_table_6(tmp_path, start):
    rows = []
    order = np.random.default_rng(1).permutation(sum(n for _, n, _ in PAPER))
    votes = [many for _, n, many in PAPER for _ in range(n)]
    for i in order:
        rows += ballots(f"clip{i}", "sentiment", [np.sign(votes[i])] * abs(votes[i]) + [0] * (5 - abs(votes[i])))
    status, out, _ = start(f"votes={write(tmp_path / 'v.csv', rows)}", f"out={tmp_path / 'out'}", "resamples=20")
    assert status == 0 and {p.name for p in (tmp_path / "out").iterdir()} == FILES  # votes on sentiment alone are legal
    found = read(tmp_path / "out" / "labels.csv")
    assert list(found[0]) == ["item", "score", "class3", "class5", "split"] and len(found) == 3715
    counts = Counter((row["split"], row["class5"]) for row in found)
    assert {split: [counts[split, name] for name, _, _ in PAPER] for split in ("train", "valid", "test")} == {
        "train": [167, 339, 913, 579, 231],
        "valid": [56, 113, 304, 193, 77],
        "test": [56, 113, 304, 193, 77],
    }
    assert Counter((row["split"], row["class3"]) for row in found)["train", "Positive"] == 810
    assert all(sentiment_of(float(row["score"]), 5) == row["class5"] for row in found)
    assert "train: 2229 items; 167 Negative, 339 Weakly Negative, 913 Neutral" in out


def test_labels_again_and_agreement(tmp_path, start):
    rows = []
    for i in range(12):
        rows += ballots(f"c{i}", "sentiment", [1, 1, 0, -1 if i % 2 else 0, 0])
        rows += ballots(f"c{i}", "tone", MAJORITY["tone"][i % 3 :] + MAJORITY["tone"][: i % 3])
        if i:  # one item that nobody has looked at
            rows += ballots(f"c{i}", "expression", MAJORITY["expression"] if i < 3 else ["neutral"] * 4 + ["sad"])
    status, out, _ = start(f"votes={write(tmp_path / 'v.csv', rows)}", f"out={tmp_path / 'out'}")
    assert status == 0
    found = {row["item"]: row for row in read(tmp_path / "out" / "labels.csv")}
    assert list(found) == [f"c{i}" for i in range(12)]  # every item, in order
    assert found["c0"] | {"split": ""} == {
        "item": "c0",
        "score": "0.4",
        "class3": "Positive",
        "class5": "Weakly Positive",
        "tone": "sad",
        "expression": "",
        "split": "",
    }
    assert {row["score"] for row in found.values()} == {"0.4", "0.2"}
    assert [item for item, row in found.items() if not row["expression"]] == ["c0", "c1", "c2"]
    assert read(tmp_path / "out" / "again.csv") == [
        {"item": "c0", "field": "expression", "votes": ""},
        *({"item": f"c{i}", "field": "expression", "votes": "sad: 2; angry: 2; happy: 1"} for i in (1, 2)),
    ]
    report = json.loads((tmp_path / "out" / "agreement.json").read_text())
    assert list(report) == ["sentiment", "tone", "expression"]
    counts = np.array([[2, 2, 1, 0]] * 2 + [[0, 1, 0, 4]] * 9)
    assert report["expression"]["kappa"] == pytest.approx(fleiss_kappa(counts))
    low, high = report["expression"]["interval"]
    assert low < report["expression"]["kappa"] < high and report["expression"]["items"] == 11
    assert list(report["expression"]["per_class"]) == ["angry", "happy", "neutral", "sad"]
    assert "expression: kappa" in out and "3 items go back" in out


def test_merging_and_clips_make_a_set_that_the_reader_takes(tmp_path, start):
    styles = (
        "Scientific exposition",
        "Situated reportage",
        "General narrative exposition",
        "Informational interaction",
        "Informational interaction",
    )
    names = [(f"v{i // 2}", f"{i % 2:04d}") for i in range(10)]
    rows = [
        ballot
        for video, clip in names
        for field, values in (("sentiment", [1, 1, 1, 0, 0]), ("speaking_style", styles))
        for ballot in ballots(f"{video}$_${clip}", field, values)
    ]
    merge = {name: "General Narrative Exposition" for name in styles[:3]}
    (tmp_path / "merge.json").write_text(json.dumps({"speaking_style": merge}))
    clips = [(video, clip, "好", "vlogs", video, "", "") for video, clip in names]
    write(tmp_path / "clips.csv", clips, ("video_id", "clip_id", "text", "scenario", "speaker", "tone", "expression"))
    options = [
        f"votes={write(tmp_path / 'v.csv', rows)}",
        f"out={tmp_path / 'out'}",
        "resamples=9",
        f"clips={tmp_path / 'clips.csv'}",
    ]
    status, out, _ = start(*options, f"merge={tmp_path / 'merge.json'}")
    assert status == 0 and "speakers of test stand in train too" in out
    samples = read_samples(tmp_path / "out" / "label.csv", dataset="ch_cems")
    assert {s.id for s in samples} == {f"{video}$_${clip}" for video, clip in names}
    assert {s.score for s in samples} == {0.6} and Counter(s.split for s in samples)["test"] == 2
    assert samples[0].concepts == (("speaking_style", "General Narrative Exposition"), ("scenario", "vlogs"))
    status, out, _ = start(*options)
    assert status == 0 and "warning: speaking_style has" in out  # not merged: too many labels, and all go back
    assert "10 items go back" in out
    status, out, _ = start(*options, "split=speakers")
    assert status == 0 and "not speaker-disjoint, this one is" in out
    speakers = {}
    for row in read(tmp_path / "out" / "label.csv"):
        speakers.setdefault(row["speaker"], set()).add(row["mode"])
    assert all(len(modes) == 1 for modes in speakers.values()) and len(set.union(*speakers.values())) == 3


@pytest.mark.parametrize("reader", ["ch_cems", "plain"])
def test_ones_own_concepts_reach_the_reader(tmp_path, start, reader):
    """Those of no column of CH-CEMS', whatever names the clips."""
    columns = ("video_id", "clip_id", "text") if reader == "ch_cems" else ("id", "text")
    names = [f"v{i}$_$1" for i in range(5)]
    write(
        tmp_path / "clips.csv",
        [(*(name.split("$_$") if reader == "ch_cems" else [name]), "hi") for name in names],
        columns,
    )
    rows = [
        ballot
        for name in names
        for field, value in (("sentiment", 1), ("tone", "sad"), ("gaze", "up; away"))
        for ballot in ballots(name, field, [value] * 3)
    ]
    status, out, _ = start(
        f"votes={write(tmp_path / 'v.csv', rows)}", f"out={tmp_path / 'out'}", f"clips={tmp_path / 'clips.csv'}"
    )
    assert status == 0 and f"--config.dataset={reader}" in out
    samples = read_samples(tmp_path / "out" / "label.csv", dataset=reader)
    assert [sample.id for sample in samples] == names
    assert {sample.concepts for sample in samples} == {(("tone", "sad"), ("gaze", "up; away"))}


def test_what_is_read_is_never_written_over(tmp_path, start):
    rows = [ballot for i in range(10) for ballot in ballots(f"c{i}", "sentiment", [1, 0, 0])]
    write(tmp_path / "labels.csv", rows)
    write(
        tmp_path / "label.csv",
        [("v", f"c{i}", "hi", f"c{i}") for i in range(12)],
        ("video_id", "clip_id", "text", "item"),
    )
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for arguments in (
        [f"votes={tmp_path / 'labels.csv'}"],
        [f"votes={write(tmp_path.parent / 'v.csv', rows)}", f"clips={tmp_path / 'label.csv'}"],
    ):
        status, _, error = start(*arguments, f"out={tmp_path}")
        assert status == 2 and "would be written over config." in error
    assert files == {path: path.read_bytes() for path in tmp_path.iterdir()}
    status, out, _ = start(*arguments, f"out={tmp_path / 'out'}")
    assert status == 0 and "2 clips without votes are left out" in out
    assert len(read_samples(tmp_path / "out" / "label.csv", dataset="ch_cems")) == 10  # concepts: empty cells


def test_a_directory_in_the_way_is_told_before_anything_is_written(tmp_path, start):
    rows = ballots("a", "sentiment", [1, 0]) + ballots("b", "sentiment", [1, 1])
    (tmp_path / "out" / "agreement.json").mkdir(parents=True)
    status, _, error = start(f"votes={write(tmp_path / 'v.csv', rows)}", f"out={tmp_path / 'out'}")
    assert status == 2 and "agreement.json cannot be written: a directory is in the way" in error
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["agreement.json"]


def test_spellings_warnings_and_null(tmp_path, start):
    rows = (
        ballots("a", "sentiment", [1, 0])
        + ballots("a", "tone", ["casual", "Casual", "随意"])
        + ballots("a", "gaze", ["away"])
    )
    write(tmp_path / "clips.csv", [("a", "s")], ("item", "speaker"))
    (tmp_path / "merge.json").write_text('{"pace": {"quick": "fast"}}')
    status, out, _ = start(
        f"votes={write(tmp_path / 'v.csv', rows)}",
        f"out={tmp_path / 'out'}",
        f"clips={tmp_path / 'clips.csv'}",
        f"merge={tmp_path / 'merge.json'}",
    )
    assert status == 0 and read(tmp_path / "out" / "labels.csv")[0]["tone"] == "casual"
    for told in (
        "gaze is no concept of the table",
        "config.merge names pace",
        "no label.csv is written",
        "no item has more than 1 votes on gaze",
        "test is 100% of the items",
    ):
        assert told in out
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES
    assert json.loads((tmp_path / "out" / "agreement.json").read_text())["tone"]["interval"] == [None, None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out=x"], "config.votes: name a csv"),
        (["votes=VOTES"], "config.out: name a directory"),
        (["votes=nowhere.csv", "out=OUT"], "config.votes: there is no file nowhere.csv"),
        (["votes=VOTES", "out=OUT", "seed=-1"], "seed"),
        (["votes=VOTES", "out=OUT", "split=speakers"], "column speaker"),
        (["votes=VOTES", "out=OUT", "split=random"], "config.split"),
        (["votes=VOTES", "out=OUT", "merge=VOTES"], "config.merge"),
        (["votes=VOTES", "out=OUT", "clips=CLIPS"], "has no row for 1 items of the votes, such as 'b'"),
        (["votes=VOTES", "out=VOTES"], "config.out"),
        (["votes=BAD", "out=OUT"], "line 2: a vote on sentiment"),
        (["votes=VOTES", "out=OUT", "majority=0"], "majority"),
        (["votes=VOTES", "out=OUT", "clip=x"], "config.clip"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_and_nothing_is_written(tmp_path, start, arguments, message):
    paths = {
        "VOTES": write(tmp_path / "v.csv", [("a", 1, "sentiment", 1), ("b", 1, "sentiment", 0)]),
        "BAD": write(tmp_path / "bad.csv", [("a", 1, "sentiment", 7)]),
        "OUT": tmp_path / "out",
        "CLIPS": write(tmp_path / "clips.csv", [("a", "hi")], ("id", "text")),
    }
    for name, path in paths.items():
        arguments = [argument.replace(name, str(path)) for argument in arguments]
    status, _, error = start(*arguments)
    assert status == 2 and error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / "out").exists()
