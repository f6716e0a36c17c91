"""A csv of id and pred, scored as our own policies are."""

import json
import subprocess
import sys

import pytest

from emsa_jax.answers.labels import POLARITIES
from emsa_jax.data.records import Entry
from emsa_jax.errors import InputError
from emsa_jax.evaluation.external import read_given, score_given
from emsa_jax.evaluation.sentiment_metrics import score_row

SCORES = {"a": 1.0, "b": -0.6, "c": 0.0, "d": 0.2}


def entries(labels=None):
    return [
        Entry(id, "w", None if labels else score, "test", "en", 0, 0, 0, 0.0, 0, (labels or {}).get(id, ""))
        for id, score in SCORES.items()
    ]


@pytest.fixture
def scored(tmp_path):
    def run(text, labels=None, classes=()):
        path = tmp_path / "theirs.csv"
        path.write_text("id,pred\n" + text)
        return score_given(
            read_given(path),
            entries(labels),
            score_range=(-1.0, 1.0),
            classes=classes,
            fallback="neutral",
            neutral_eps=0.0,
            train_scores=[0.1],
            resamples=0,
        )

    return run


def test_scores(scored):
    result, rows = scored("b,-0.5\na,0.9\nd,\n")
    assert result["row"] == score_row([0.9, -0.5, None, None], list(SCORES.values()), "sims", fallback="neutral")
    assert result["metrics"]["parse_rate"] == 0.5
    assert [row["polarity"] for row in rows] == [POLARITIES[0], "Negative", None, None]
    assert result["controls"].keys() == {"constant", "random", "shuffled"} and result["floor"]


def test_classes(scored):
    result, _ = scored("a,positive\nb,Negative\nc,neutral\nd,-1\n")
    assert result["labels"]["ACC"] == 0.75 and result["labels"]["n"] == 4
    five, _ = scored("a,Positive\nb,Weakly Negative\nc,Neutral\nd,Weakly Positive\n")
    assert five["labels"]["ACC"] == 1 and len(five["labels"]["classes"]) == 5
    named, rows = scored("a,joy\nb,joy\nc,sad\n", {"a": "joy", "b": "sad", "c": "sad", "d": "sad"}, ("sad", "joy"))
    assert named["labels"]["ACC"] == 0.5 and named["labels"]["confusion"][0] == [1, 1, 1]
    assert rows[3]["label"] is None and rows[0]["label"] == "joy"
    assert scored("a,1\nb,1\nc,0\n", {"a": "joy", "b": "sad", "c": "sad", "d": "sad"}, ("sad", "joy"))[0] == named


@pytest.mark.parametrize(
    "text, message",
    [
        ("a,1\na,2\n", "line 3: id 'a' was already given"),
        ("a,1\nb,good\n", "line 3: pred 'good' is no number"),
        ("a,Positive\nb,5.5\n", "line 3: pred '5.5' is none of"),
        ("a,1\nb,1e99\n", "not finite"),
    ],
)
def test_bad_files(scored, text, message):
    with pytest.raises(InputError, match=message):
        scored(text)


def test_the_command(tmp_path):
    table = tmp_path / "label.csv"
    table.write_text(
        "video_id,clip_id,text,label,mode\n"
        + "".join(
            f"v,{id},hello,{score},{mode}\n"
            for id, (score, mode) in enumerate([(0.5, "train"), (1.0, "test"), (-0.6, "test"), (0.2, "test")])
        )
    )
    theirs = tmp_path / "closed.csv"
    theirs.write_text("id,pred\nv$_$1,0.9\nv$_$2,0.4\nv$_$0,1\n")
    command = [
        sys.executable,
        "-m",
        "emsa_jax.main",
        "--config=configs/evaluate.py",
        f"--config.predictions={theirs}",
        f"--config.data={table}",
        f"--workdir={tmp_path / 'run'}",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["row"]["n"] == 3 and found["row"]["acc2"] == pytest.approx(1 / 3)  # unparsed is 0, and negative
    saved = json.loads((tmp_path / "run/evaluate/closed/train/metrics.json").read_text())
    assert saved["row"] == found["row"] and saved["predictions"] == "closed.csv"
    assert "1 without a row count as unparsed, 1 rows of other clips" in done.stdout
    theirs.write_text("id,pred\nv$_$9,0.9\n")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and "has no clip 'v$_$9'" in done.stderr and done.stderr.count("\n") == 1
