"""Predictions about many clips: each has its row, in order, and what cannot be asked about says why."""

import csv
import json
from dataclasses import replace

import pytest

from emsa_jax.errors import InputError
from emsa_jax.rollout.rollout_options import PromptOptions, SamplingOptions
from emsa_jax.runtime.console import progress
from emsa_jax.serving.ask_data import COLUMNS, predict_csv, read_questions


def predictions(served, samples, out):
    sampling = SamplingOptions(temperature=0.0, max_completion_length=6)
    one_length = replace(served.opened.prompter, options=PromptOptions(buckets=(192,)))  # and so one program
    policy = replace(served.opened, prompter=one_length)
    counts = predict_csv(policy, samples, out, sampling, seed=0, batch_size=4, progress=progress)
    with open(out, newline="") as file:
        return counts, list(csv.DictReader(file))


def test_a_table_without_labels_is_answered_row_by_row(served, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    lines = [
        {"id": "b", "text": "good day", "video": str(served.clips[0])},
        {"id": "a", "text": "=1+1", "label": 0.5},
        {"id": "c", "video": "broken.mp4"},
        {"id": "d", "audio": str(served.clips[1])},
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    counts, rows = predictions(served, read_questions(tmp_path / "t.jsonl", "en"), tmp_path / "out" / "p.csv")
    assert counts == (3, 1) and tuple(rows[0]) == COLUMNS
    assert [row["id"] for row in rows] == ["b", "a", "c", "d"]
    assert [row["seen"] for row in rows] == [
        "4 frames, 1.2 s of sound, 2 words",
        "1 word",
        "",
        "1.2 s of sound",
    ]
    assert [bool(row["error"]) for row in rows] == [False, False, True, False]
    assert rows[2]["answer"] == "" and all(row["answer"] for row in rows if not row["error"])


def test_a_folder_is_read_by_the_names_of_its_files(served, tmp_path):
    (tmp_path / "in" / "more").mkdir(parents=True)
    for name in ("x.mp4", "more/y.mp4"):
        (tmp_path / "in" / name).symlink_to(served.clips[0])
    (tmp_path / "in" / "x.txt").write_text("good day")
    (tmp_path / "in" / "notes.md").write_text("no clip")
    samples = read_questions(tmp_path / "in", "en")
    assert [(s.id, s.text, bool(s.video), s.audio) for s in samples] == [
        ("more/y", "", True, ""),
        ("x", "good day", True, ""),
    ]


@pytest.mark.parametrize(
    "content, told",
    [
        ("id,text\na,hm\na,oh\n", "id 'a' was given before"),
        ("id,text\na,\n", "text, video and audio are all empty"),
        ("name,text\na,b\n", "id"),
        ("id,text\n", "there is no clip"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, content, told):
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(InputError, match=told):
        read_questions(tmp_path / "t.csv", "en")


def test_no_clip_at_all_leaves_no_file(served, tmp_path):
    (tmp_path / "t.csv").write_text("id,video\na,none.mp4\n")
    with pytest.raises(InputError, match="none of the 1 clips can be asked about"):
        predictions(served, read_questions(tmp_path / "t.csv", "en"), tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()
