"""From a record to what the cold start learns; and our own policy as the teacher."""

import json
from dataclasses import replace

import numpy as np
import pytest

from emsa_jax.answers.dc import DC
from emsa_jax.answers.recorded_traces import cap_traces, read_any_traces
from emsa_jax.answers.traces import Trace
from emsa_jax.config.edge import from_config_dict
from emsa_jax.data.records import read_index
from emsa_jax.distill import local_teacher
from emsa_jax.distill.distill_options import DistillOptions
from emsa_jax.distill.review import Desk
from emsa_jax.errors import InputError
from emsa_jax.jobs.distill import distill
from emsa_jax.jobs.stages import check_inputs
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.rollout.prompted_data import open_split
from emsa_jax.settings.config import Config
from emsa_jax.training.artifacts import traces_file
from emsa_jax.training.sft_data import filtered_traces

FIELDS = {"timeout_seconds": 5.0, "backoff_seconds": 0.02, "model": "m"}


@pytest.fixture
def tiny(tmp_path):
    make_tiny(tmp_path / "tiny", ["The words are plain. The face shows a smile. The voice is even."] * 4, 0)
    return tmp_path / "tiny"


@pytest.fixture
def traces(world, tmp_path, monkeypatch):
    data, served = world(30)
    monkeypatch.setenv("OPENAI_API_KEY", world.key)
    fields = {"data": str(data), "out": str(tmp_path / "out"), "teacher": {"url": served.url, **FIELDS}}
    distill(from_config_dict(DistillOptions, fields))
    return tmp_path / "out"


def test_the_cold_start_reads_the_record(traces, tiny, tmp_path, capsys):
    entries = read_index(tmp_path / "data", "train")
    Desk(traces, entries, "all").decide(entries[0].id, "ada", "rejected", 0)
    config = Config(data=str(tmp_path / "data"), policy=str(tiny), traces=str(traces))
    assert traces_file(None, config) == traces / "record.jsonl"
    train = open_split(config, tmp_path / "data", open_checkpoint(tiny), "train")
    kept = filtered_traces(train, traces_file(None, config), 0, seed=0)
    assert kept.keys() == {entry.id for entry in entries[1:]}
    assert all(kept[entry.id].score == entry.score for entry in entries[1:])
    assert "traces: 29 kept, 0 dropped" in capsys.readouterr().out
    without = replace(train, entries=entries[5:])
    filtered_traces(without, traces_file(None, config), 0, 0, {entry.id: "valid" for entry in entries[:3]})
    told = "traces: 25 kept, 4 dropped; 2: no train clip of this id, or no true score; 2: of a clip of valid, which is"
    assert told in capsys.readouterr().out

    few = filtered_traces(train, traces_file(None, config), 4, seed=0)
    counts = [sum(trace.polarity == p for trace in few.values()) for p in ("Negative", "Neutral", "Positive")]
    assert counts == [4, 4, 4] and few.items() <= kept.items()


def test_a_damaged_record_is_named_before_anything_is_learned(traces, tiny, tmp_path):
    config = Config(data=str(tmp_path / "data"), policy=str(tiny), traces=str(traces), stages=("sft",))
    with pytest.raises(InputError, match="valid"):  # the record is sound; there is no validation split here
        check_inputs(config)
    path = traces / "record.jsonl"
    path.write_bytes(path.read_bytes().replace(b"rejected", b"accepted", 1).replace(b'"score":-', b'"score":', 1))
    with pytest.raises(InputError, match=r"record.jsonl, line \d+: damaged"):
        read_any_traces(path)


def test_caps_take_the_same_traces_whatever_else_there_is():
    all_ = [Trace(f"c{i}", ("Positive", "Negative", "Neutral")[min(i % 4, 2)], "why", 0.0) for i in range(200)]
    few = cap_traces(all_, 20, 0)
    assert [trace for trace in all_ if trace in few] == few and len(few) == 60
    assert cap_traces(all_, 0, 0) == all_ == cap_traces(all_, 1000, 0)
    other = cap_traces(all_, 20, 1)
    assert {trace.id for trace in few} != {trace.id for trace in other}
    less = cap_traces([trace for trace in all_ if trace != few[0]], 20, 0)
    assert len({trace.id for trace in few} ^ {trace.id for trace in less}) == 2


# ---- our own policy ----


def answers_of(entry, n):
    """Of one clip: best by reward last but one; a silent one; one of the wrong polarity; one without form."""
    polarity = "Neutral" if not entry.score else "Positive" if entry.score > 0 else "Negative"
    think = "The words are plain, the face shows a smile, and the voice is even to the end."
    near, far = entry.score, {"Positive": 3.0, "Neutral": 0.0, "Negative": -3.0}[polarity]
    write = DC((-3.0, 3.0)).write
    wrong = "Negative" if polarity != "Negative" else "Positive"
    silent = "It is what it is, to be sure, and no more than that."
    return [
        write(polarity, think + " So it seems.", far),
        write(polarity, silent, near),
        write(wrong, think, {"Negative": -1.0, "Positive": 1.0}[wrong]),
        write(polarity, think, near),
        "no form",
    ][n]


@pytest.fixture
def policy(world, tiny, tmp_path, monkeypatch):
    """policy(**fields) runs the job with tiny as the teacher, whose words are replaced by `answers_of`."""
    data, _ = world(10)
    entries = read_index(data, "train")
    asked = []

    def texts(checkpoint, done, rows):
        group = np.asarray(done.tokens).shape[1]
        batch = entries[len(asked) * 4 : len(asked) * 4 + rows]
        asked.append(rows)
        return [[answers_of(entry, g) for g in range(group)] for entry in batch]

    def run(**fields):
        asked.clear()
        fields = {
            "data": str(data),
            "out": str(tmp_path / "out"),
            "attempts": 5,
            "teacher": {"kind": "policy"},
            "local": {"policy": str(tiny), "batch_size": 4, "sampling": {"max_completion_length": 8}},
            **fields,
        }
        distill(from_config_dict(DistillOptions, fields))
        return asked

    run.texts = texts
    return run


def test_the_best_of_several_by_reward_stands(policy, world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(local_teacher, "answer_texts", policy.texts)
    plain = local_teacher.jax.device_get

    def ended(done):
        done = plain(done)
        return done.replace(ended=np.ones_like(done.ended)) if hasattr(done, "ended") else done

    monkeypatch.setattr(local_teacher.jax, "device_get", ended)
    assert policy() == [4, 4, 2]
    rows = world.rows(tmp_path / "out")
    reasons = {n: {row["reason"].split(":")[0] for row in rows if row["attempt"] == n} for n in range(5)}
    assert reasons == {0: {""}, 1: {"modalities"}, 2: {"polarity"}, 3: {""}, 4: {"parse"}}
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert counts["samples"]["kept"] == 10
    kept = {trace.id: trace.think for trace in read_any_traces(tmp_path / "out")}
    better = {row["id"] for row in rows if row["attempt"] == 0 and row["reward"] < 3 - 1e-6}
    assert better and all(not kept[id].endswith("So it seems.") for id in better)
    assert policy() == []  # nothing is left to ask
    assert len(world.rows(tmp_path / "out")) == 50


def test_a_policy_neither_refines_nor_judges():
    with pytest.raises(InputError, match="neither refines nor judges"):
        DistillOptions(teacher=from_config_dict(DistillOptions, {"teacher": {"kind": "policy"}}).teacher, refine=True)
