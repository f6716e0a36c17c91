"""configs/prepare.py outside a run: a directory of records, and what it says of them."""

import json

import numpy as np
import pytest
import soundfile
from absl import flags

from emsa_jax.data.data_options import ReadingOptions
from emsa_jax.data.dataset_options import CrossDataset
from emsa_jax.data.readers import READERS
from emsa_jax.data.readers.plain import read_plain
from emsa_jax.data.records import read_index, read_manifest
from emsa_jax.errors import InputError
from emsa_jax.jobs.inspect import inspect
from emsa_jax.jobs.prepare import prepare_records
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import InspectOptions

ROWS = "id,text,label,mode,video,audio\na,a good day,2.5,train,,\nb,a bad day,-1,train,,\nc,a day,0,test,,\n"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "clips.csv"
    path.write_text(ROWS)
    return path


def config(source, **changes):
    return Config(**{"stages": ("prepare",), "data": str(source), "out": str(source.parent / "records")} | changes)


def test_a_named_set_brings_its_own_range(source, capsys):
    source.write_text("video_id,clip_id,text,label,mode\nv,1,fine,-2.8,train\nv,2,bad,3,test\n")
    prepare_records(config(source, dataset="cmu_mosi"))
    manifest = read_manifest(source.parent / "records")
    assert (manifest.score_range, manifest.dataset, manifest.samples["train"]) == ((-3.0, 3.0), "cmu_mosi", 1)
    assert "official sizes: train 1,284" in capsys.readouterr().out


def test_reading_options_arrive(source):
    prepare_records(config(source, score_range=(-3.0, 3.0), read=ReadingOptions(valid_share=1.0)))
    assert read_manifest(source.parent / "records").samples == {"train": 0, "valid": 2, "test": 1}


def test_with_a_policy_the_manifest_knows_prompt_lengths(source):
    make_tiny(source.parent / "policy", ["good", "bad"], 0, vocab_size=320)
    prepare_records(config(source, score_range=(-3.0, 3.0), policy=str(source.parent / "policy")))
    manifest = read_manifest(source.parent / "records")
    assert manifest.boundaries and manifest.boundaries[-1] >= manifest.quantiles["tokens"]["1"] > 50
    assert [entry.id for entry in read_index(source.parent / "records", "train")] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "puppets:en"}, "out: name raw data"),
        ({"stages": ("prepare", "sft")}, "out: only configs/prepare.py"),
        ({"dataset": "mosi"}, "dataset 'mosi' is none of cmu_mosi"),
        ({"score_range": (1.0,)}, "two numbers that rise"),
    ],
)
def test_what_cannot_be(source, changes, message):
    with pytest.raises(InputError, match=message):
        config(source, **changes)


def test_a_reader_of_ones_own_needs_no_more_than_its_name(source, monkeypatch, capsys):
    monkeypatch.setitem(READERS, "ratings", read_plain)  # and no line in facts.py
    prepare_records(config(source, dataset="ratings", score_range=(-3.0, 3.0)))
    capsys.readouterr()
    records = source.parent / "records"
    assert read_manifest(records).dataset == "ratings"
    inspect(InspectOptions(data=str(records)))
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["dataset"] == "ratings"


def test_a_second_domain_may_be_of_another_set():
    Config(policy="p", data="d", dataset="ch_sims", cross=CrossDataset("m", dataset="cmu_mosi"))


def told(capsys, start):
    start()
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith(("warning:", "note:"))]


def test_what_is_wrong_with_a_set_is_told_and_kept(source, capsys):
    source.write_text(ROWS + "d,A good day!,1,val,,\nf,a day,1,test,,far/f.wav\n")
    (source.parent / "far").mkdir()
    soundfile.write(source.parent / "far" / "f.wav", np.zeros(16000), 16000)
    soundfile.write(source.parent / "far" / "forgotten.wav", np.ones(16), 16000)
    lines = told(capsys, lambda: prepare_records(config(source, score_range=(-3.0, 3.0))))
    assert lines == read_manifest(source.parent / "records").findings["said"]
    text = "\n".join(lines)
    assert "warning: of the 1 clip of valid, 1 have the words of clips of train (such as d)" in text
    assert "note: 1 clip (1 test; f): the sound is silent" in text
    assert "note: 1 clip (1 valid; d): mode val was read as valid" in text
    assert "note: 1 media file beside the clips, named by no row, such as far/forgotten.wav" in text


LOST = (
    "id,text,label,mode,video\na,a good day,1,train,\nb,a bad day,-1,train,\nc,,0,valid,no.mp4\nd,,0,valid,none.mp4\n"
)


@pytest.fixture
def lost(tmp_path):
    """A table of which all clips of valid are missing, with a trace beside it."""
    path = tmp_path / "clips.csv"
    path.write_text(LOST + "e,a day,0,test,\n")
    trace = {"id": "a", "polarity": "Positive", "think": "The words are glad.", "score": 0.5}
    (tmp_path / "traces.jsonl").write_text(json.dumps(trace) + "\n")
    return path


def test_a_run_stops_where_a_stage_has_lost_its_split(lost, started, monkeypatch):
    monkeypatch.setattr(flags.FLAGS["workdir"], "default", str(lost.parent / "run"))
    arguments = (f"data={lost}", "prepare.max_bad_share=1.0", "prepare.workers=1", "cross.data=")
    status, out, error = started(*arguments, "stages=('prepare','sft')", config="configs/sft.py")
    assert status == 2 and "warning: all clips of valid (2) were quarantined: valid is empty" in out
    *_, line = error.splitlines()
    assert line.startswith("error: ") and "stage sft needs clips of valid, and all 2 of them were quarantined" in line
    assert "such as c: there is no file" in line and not (lost.parent / "run" / "policy").exists()
    status, out, error = started(*arguments, "stages=('prepare',)", config="configs/sft.py")
    assert status == 0 and "valid is empty" in out  # which no stage needs


def test_sets_of_a_run_that_share_clips(lost, started, monkeypatch):
    monkeypatch.setattr(flags.FLAGS["workdir"], "default", str(lost.parent / "run"))
    (lost.parent / "other.csv").write_text("id,text,label,mode\nx,A bad day.,0,test\ny,new,1,test\nz,older,0,train\n")
    (lost.parent / "mixed.csv").write_text("id,text,label,mode\nm,a day,0,train\nn,anew,1,train\n")
    prepare_records(config(lost.parent / "mixed.csv"))
    arguments = ("prepare.max_bad_share=1.0", "prepare.workers=1", "stages=('prepare',)", "seed=1")
    sets = (f"data={lost}", f"cross.data={lost.parent / 'other.csv'}", f"mix.data=('{lost.parent / 'records'}',)")
    status, out, error = started(*arguments, *sets, config="configs/sft.py")
    assert status == 0, error
    shared = json.loads((lost.parent / "run" / "overlaps.json").read_text())
    names = [(one["of"].split("/")[-1], one["with"].split("/")[-1], one["examples"]) for one in shared]
    assert names == [
        ("clips.csv (test)", "records (train)", ["e"]),
        ("other.csv (test)", "clips.csv (train)", ["x"]),
    ]
    assert out.count("have the words of clips of") == 2


def test_another_score_range_than_that_of_the_records_is_refused(source, started):
    prepare_records(config(source, score_range=(-3.0, 3.0)))
    records = source.parent / "records"
    status, out, error = started(f"data={records}", "score_range=(-1.0,1.0)", config="configs/sft.py")
    assert (status, out) == (2, "") and "prepared for [-3, 3]; leave it out" in error and error.count("\n") == 1
