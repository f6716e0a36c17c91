"""The job from end to end: what is kept, what is never asked twice, what is never written."""

import json
import os
import signal
import time

import pytest

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.describe import Describe
from emsa_jax.answers.recorded_traces import read_any_traces
from emsa_jax.config.edge import from_config_dict
from emsa_jax.cues.cue_files import read_cues
from emsa_jax.data.records import read_index
from emsa_jax.distill.distill_options import DistillOptions
from emsa_jax.distill.review import Desk
from emsa_jax.distill.teacher_prompts import OURS
from emsa_jax.errors import InputError
from emsa_jax.jobs.distill import distill

FAST = {"timeout_seconds": 1.0, "backoff_seconds": 0.02, "retries": 3, "concurrency": 8}


@pytest.fixture
def run(world, monkeypatch, capsys):
    """run(data, served, **fields) -> the counts of the last line; groups of fields as dictionaries."""

    def go(data, served, teacher=(), **fields):
        monkeypatch.setenv("OPENAI_API_KEY", world.key)
        teacher = {"url": served.url if served else "", "model": "puppet-teacher", **FAST, **dict(teacher)}
        out = fields.pop("out", data.parent / "out")
        fields = {"data": str(data), "out": str(out), "teacher": teacher, **fields}
        distill(from_config_dict(DistillOptions, fields))
        go.said = capsys.readouterr().out.splitlines()
        return json.loads(go.said[-1]) if go.said[-1].startswith("{") else None

    return go


def test_faults_of_every_kind(world, run, tmp_path):
    data, served = world(60, rate=0.7)
    counts = run(data, served)
    rows = world.rows(tmp_path / "out")
    assert counts["samples"]["asked"] == counts["samples"]["in all"] == 60 and counts["samples"]["open"] == 0
    assert counts["samples"]["kept"] + counts["samples"]["kept aside"] == 60 and counts["samples"]["kept"] > 40
    assert counts["requests"] == len(served.requests()) == sum(row["requests"] for row in rows)
    for row in rows:  # every answer with all that it takes to judge and to repeat it
        assert row["prompt"]["user"] and len(row["prompt_sha256"]) == 64 and row["teacher"] == "puppet-teacher"
        assert row["parameters"]["seed"] == row["attempt"] and row["prompt"]["media"]["images"] == 2
        assert row["verdict"] in ("accepted", "rejected", "failed")
        assert (row["verdict"] == "accepted") == (not row["reason"])
    found = {row["fault"]: set() for row in served.requests()}
    for row in served.requests():
        verdict = next(
            r for r in rows if r["prompt"]["user"].find(f"#{row['sample']} ") > 0 and r["attempt"] == row["attempt"]
        )
        found[row["fault"]].add(verdict["reason"].split(":")[0])
    expected = {
        "wrong_format": {"parse"},
        "wrong_polarity": {"polarity"},
        "wrong_sign": {"score_sign"},
        "leak": {"leak"},
        "short": {"length"},
        "repeated": {"repetition"},
        "silent": {"modalities"},
        "foreign": {"language"},
        "refusal": {"finished"},
        "cut_off": {"finished"},
        "down": {"no answer"},
    }
    for fault, reasons in found.items():
        assert reasons <= expected.get(fault, {""}), fault
    before = served.lines()
    assert run(data, served)["requests"] == counts["requests"] and served.lines() == before  # nothing is asked again
    page = (tmp_path / "out" / "yield.html").read_text()
    assert "kept aside" in page and "puppet-teacher" in page and "http:" not in page.split("How it was made")[0]


def test_the_true_score_takes_the_written_ones_place(world, run, tmp_path):
    data, served = world(12)
    run(data, served)
    traces = read_any_traces(tmp_path / "out")
    rows = {row["id"]: row for row in world.rows(tmp_path / "out")}
    assert len(traces) == 12
    assert all(trace.score == rows[trace.id]["truth"]["score"] for trace in traces)
    assert any(trace.score != rows[trace.id]["parsed"]["score"] for trace in traces)


def test_no_key_and_no_path_in_any_file(world, run, tmp_path, monkeypatch):
    """Not even when a template holds the key, or the endpoint repeats it (test_client)."""
    data, served = world(20, rate=0.5)
    templates = tmp_path / "my_templates"
    templates.mkdir()
    (templates / "dc.en.txt").write_text((OURS / "dc.en.txt").read_text().replace("Judge", f"Key {world.key}: judge"))
    run(data, served, templates=str(templates), refine=True, filter={"judge": True})
    assert any("Key [key]: judge" in row["prompt"]["user"] for row in world.rows(tmp_path / "out"))
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"record.jsonl", "yield.json", "yield.html", ".lock"}
    for path in files:
        for secret in (world.key, str(tmp_path), str(OURS), os.getcwd(), os.path.expanduser("~"), os.uname().nodename):
            assert secret.encode() not in path.read_bytes(), (path, secret)


def test_budgets_stop_cleanly_and_the_next_run_goes_on(world, run, tmp_path):
    data, served = world(40, delay=0.02)
    counts = run(data, served, budget={"requests": 15})
    assert counts["requests"] == len(served.requests()) == 15 and counts["stopped"] == "budget.requests=15"
    assert any("raise config.budget.requests to go on" in line for line in run.said)
    counts = run(data, served, budget={"tokens": counts["tokens"]["prompt"] + 15_000})
    assert counts["stopped"].startswith("budget.tokens") and 15 < len(served.requests()) < 40
    prices = {"price_prompt": 1.0, "price_answer": 2.0}
    spent = (counts["tokens"]["prompt"] + 2 * counts["tokens"]["answer"]) / 1e6
    counts = run(data, served, budget={"money": spent + 0.003, **prices})
    assert counts["stopped"].startswith("budget.money") and len(served.requests()) < 40
    counts = run(data, served)
    assert counts["samples"]["kept"] == 40 == len(served.requests())


def test_what_a_stop_leaves_is_open(world, run):
    """Samples that have attempts left are not kept aside: the next start asks about them."""
    data, served = world(30, rate=1.0, delay=0.01)
    counts = run(data, served, budget={"requests": 20})
    assert counts["samples"]["kept aside"] == 0 < counts["samples"]["open"]
    assert any("raise config.budget.requests" in line for line in run.said)


def test_a_dry_run_changes_nothing(world, run, tmp_path):
    data, served = world(10)
    run(data, served)
    before = (tmp_path / "out" / "record.jsonl").read_bytes()
    run(data, served, dry_run=True, filter={"min_units": 200})
    assert (tmp_path / "out" / "record.jsonl").read_bytes() == before and len(read_any_traces(tmp_path / "out")) == 10
    with pytest.raises(InputError, match="holds traces of format=dc; name another directory for format=concepts"):
        run(data, served, format="concepts")
    assert (tmp_path / "out" / "record.jsonl").read_bytes() == before


def test_directories_that_are_none(world, run, tmp_path):
    data, served = world(3)
    with pytest.raises(InputError, match="truths.json is a file; prepare it"):
        run(tmp_path / "truths.json", served)
    for name in ("policy", "adapter"):
        local = {"policy": str(tmp_path), name: "/nowhere"}
        with pytest.raises(InputError, match=f"local.{name}: there is no directory /nowhere"):
            run(data, None, teacher={"kind": "policy"}, local=local)
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "dc.txt").write_text("a\n---\nb")
    with pytest.raises(InputError, match="holds none of dc.en.txt, dc.zh.txt, refine.en.txt"):
        run(data, served, templates=str(templates))
    (templates / "dc.en.txt").write_text("a\n---\n{{ uterance }}")
    with pytest.raises(InputError, match="'uterance' is undefined; it may use utterance, has_text"):
        run(data, served, templates=str(templates))


def test_retries_count_against_the_budget(world, run):
    data, served = world(30, rate=1.0, delay=0.01)
    counts = run(data, served, budget={"requests": 25})
    assert len(served.requests()) <= 25 and counts["requests"] == len(served.requests())


def test_other_checks_look_again_without_asking(world, run, tmp_path):
    data, served = world(20)
    assert run(data, served, filter={"min_units": 10})["samples"]["kept"] == 20
    asked = served.lines()
    counts = run(data, served, filter={"min_units": 200}, attempts=1)
    assert served.lines() == asked and counts["samples"]["kept"] == 0 and counts["reasons"] == {"length": 20}
    assert any("20 earlier answers were checked again" in line for line in run.said)
    assert run(data, served, filter={"min_units": 10}, attempts=1)["samples"]["kept"] == 20 and served.lines() == asked


def test_refined_and_judged(world, run, tmp_path):
    data, served = world(20)
    counts = run(data, served, refine=True, filter={"judge": True}, attempts=4)
    rows = world.rows(tmp_path / "out")
    steps = {step: [row for row in rows if row["step"] == step] for step in ("write", "refine", "judge")}
    assert all(steps.values()) and counts["samples"]["refined"] > 10
    assert {row["verdict"] for row in steps["judge"]} == {"accepted", "rejected"}
    answers = {(row["id"], row["step"], row["attempt"]): row["answer"] for row in rows}
    for row in steps["judge"] + steps["refine"]:  # each is about the answer that it names
        of = row["of"]
        assert answers[row["id"], of["step"], of["attempt"]] in row["prompt"]["user"]
    assert counts["rejected"]["judge"] == sum(row["verdict"] == "rejected" for row in steps["judge"])
    asked = served.lines()
    run(data, served, refine=True, filter={"judge": True}, attempts=4)
    assert served.lines() == asked


def test_more_attempts_go_on_where_the_others_ended(world, run, tmp_path):
    data, served = world(40, rate=1.0)
    first = run(data, served, attempts=1)
    second = run(data, served, attempts=3)
    assert first["samples"]["kept"] < second["samples"]["kept"]
    keys = [(row["id"], row["attempt"]) for row in world.rows(tmp_path / "out")]
    assert len(keys) == len(set(keys)) and max(n for _, n in keys) == 2


def test_a_dry_run_asks_nothing(world, run, tmp_path):
    data, served = world(10)
    run(data, served, dry_run=True, budget={"price_prompt": 2.0, "price_answer": 8.0})
    assert served.requests() == [] and sum("cost at most about" in line for line in run.said) == 2


def test_errors_say_what_to_do(world, run, tmp_path, monkeypatch):
    data, served = world(10)
    for fields, words in (
        ({"teacher": {"url": ""}}, "teacher.url"),
        ({"out": ""}, "config.out"),
        ({"attempts": 0}, "attempts"),
        ({"templates": str(tmp_path / "none")}, "templates: "),
        ({"teacher": {"extra": '{"seed": 1}'}}, "teacher.extra"),
        ({"split": "valid"}, "no sample of valid has a score"),
        ({"teacher": {"url": "ftp://x"}}, "teacher.url"),
    ):
        with pytest.raises(InputError, match=words):
            run(data, served, **fields)
    (tmp_path / "dc.en.txt").write_text("{{ nothing }}\n---\n{{ utterance }}")
    with pytest.raises(InputError, match="template dc.en.txt: 'nothing' is undefined"):
        run(data, served, templates=str(tmp_path))
    served.close()
    with pytest.raises(InputError, match="nothing answers at"):
        run(data, served)


def test_one_at_a_time_and_stopped_by_a_signal(world, run, tmp_path):
    data, served = world(200, delay=0.1)
    fields = {"teacher.url": served.url, "teacher.model": "m", "teacher.concurrency": 4}
    process = world.start(world.job("distill", tmp_path / "out", data, **fields), tmp_path / "log")
    while len(served.requests()) < 8:
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.05)
    with pytest.raises(InputError, match="another distill is at work"):
        run(data, served)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(20) == 0
    assert '"stopped": "interrupted"' in (tmp_path / "log").read_text()
    assert len(served.requests()) == len(world.rows(tmp_path / "out")) < 200  # those under way were awaited


def test_an_endpoint_that_fails_does_not_use_up_the_samples(world, run, monkeypatch, tmp_path):
    data, served = world(200)
    from emsa_jax.distill import client

    def broken(self, content):
        raise client._Again("broken")

    monkeypatch.setattr(client.ChatClient, "_read", broken)
    with pytest.raises(InputError, match="no answer 24 times in a row, at last: broken"):
        run(data, served, teacher={"retries": 0})
    assert len(world.rows(tmp_path / "out")) <= 24 + FAST["concurrency"]


@pytest.mark.parametrize("classes", [3, 5])
def test_concepts_explained_from_their_true_labels(world, run, tmp_path, classes):
    data, served = world(60, {"concepts": True}, rate=0.8)
    fields = {"format": "concepts", "concepts": {"classes": classes}}
    counts = run(data, served, refine=True, **fields)
    rows = world.rows(tmp_path / "out")
    assert counts["samples"]["kept"] > 30 and counts["samples"]["refined"] > 20
    assert {"sentiment", "concepts", "leak"} <= counts["rejected"].keys()
    for row in rows:
        known = dict(row["truth"]["concepts"])
        assert f"<tone>{known['tone']}</tone>" in row["prompt"]["user"]
        if row["verdict"] == "accepted":
            assert dict(row["parsed"]["concepts"]) == known and "<concept>" in row["answer"]
    assert {row["parsed"]["sentiment"] for row in rows if row["verdict"] == "accepted"} >= {"Negative", "Positive"}
    truths = {row["id"]: row["truth"]["score"] for row in rows}
    assert all(trace.score == truths[trace.id] for trace in read_any_traces(tmp_path / "out"))
    desk = Desk(tmp_path / "out", read_index(data, "train"), "all", ConceptOptions(classes=classes))
    assert f"tone: {dict(desk.entries[0].concepts)['tone']}" in desk.next("ada")["facts"]
    with pytest.raises(InputError, match="other config.concepts"):
        Desk(tmp_path / "out", read_index(data, "train"), "all", ConceptOptions(classes=8 - classes))


def test_cues_of_two_models(world, run, tmp_path):
    """EmoCue data: a teacher describes clips, a text model merges without seeing them, and cues go out as lines."""
    data, served = world(8, records={"concepts": True})
    asked = {"format": "describe", "refine": True, "refine_model": "merger", "filter": {"modalities": False}}
    counts = run(data, served, **asked)
    assert counts["samples"]["kept"] == 8
    rows = [row for row in world.rows(tmp_path / "out") if row["kind"] == "attempt"]
    models = {row["step"]: (row["teacher"], row["parameters"]["model"], row["prompt"]["media"]) for row in rows}
    assert models["write"][:2] == ("puppet-teacher",) * 2 and models["write"][2]["images"] == 2
    assert models["refine"] == ("merger", "merger", {})
    assert "the brows are still" in [row for row in rows if row["step"] == "refine"][0]["prompt"]["user"]
    lines = [json.loads(line) for line in (tmp_path / "out/cues.jsonl").read_text().splitlines()]
    assert len(lines) == 8 and lines[0]["cues"] == {
        "visual": ["the corners of the mouth move."],
        "audio": ["the voice is steady and a little slow towards the end."],
        "global": ["it points one way."],
    }
    assert lines[0]["captions"] == {kind: " ".join(lines[0]["cues"][kind]) for kind in ("visual", "audio")}
    cues, texts = read_cues(tmp_path / "out/cues.jsonl", "gold")
    assert set(cues) == {entry.id for entry in read_index(data, "train")} and len(texts) == 8
    learned = read_any_traces(tmp_path / "out")
    assert all(Describe(3).write(t.polarity, t.think, t.score) == texts[t.id] for t in learned)
    before = served.lines()
    run(data, served, **asked)
    assert served.lines() == before  # nothing is asked again
