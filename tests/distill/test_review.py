"""The people's pass: decisions are saved once, nobody overwrites anybody, strangers are refused; a csv out and in."""

import csv
import html
import http.client
import json
import threading
from pathlib import Path

import pytest

from emsa_jax.answers.dc import DC
from emsa_jax.answers.recorded_traces import RECORD_FORMAT, read_any_traces, read_record
from emsa_jax.append_log import AppendLog
from emsa_jax.data.records import read_index
from emsa_jax.distill.client import Reply
from emsa_jax.distill.distill_plan import DistillPlan
from emsa_jax.distill.distillation import check_reply
from emsa_jax.distill.progress import Progress
from emsa_jax.distill.review import Desk
from emsa_jax.distill.review_csv import read_csv, write_csv
from emsa_jax.distill.review_server import ReviewServer
from emsa_jax.distill.teacher_options import FilterOptions, TeacherOptions
from emsa_jax.distill.teacher_prompts import read_prompts
from emsa_jax.errors import InputError
from emsa_jax.jobs.review import review
from emsa_jax.report.review_page import review_page
from emsa_jax.settings.job_options import ReviewOptions

THINK = "The words are clear. The face stays with them. The voice does as well, so all of it agrees."


def write_traces(out, data, bad=()):
    """A record with one answer to each sample, wrong about those whose index is in `bad`."""
    prompts = read_prompts(("dc", "refine", "judge"))
    plan = DistillPlan(
        method="dc", format=DC((-3.0, 3.0)), prompts=prompts, teacher=TeacherOptions(model="m"), filter=FilterOptions()
    )
    out.mkdir(exist_ok=True)
    record = AppendLog(out / "record.jsonl", RECORD_FORMAT, Progress().take)
    record.append(plan.settings())
    entries = read_index(data, "train")
    for i, entry in enumerate(entries):
        truth = plan.truth(entry)
        polarity = "Neutral" if not truth.score else "Positive" if truth.score > 0 else "Negative"
        written = ("Negative" if polarity != "Negative" else "Positive") if i in bad else polarity
        score = {"Positive": 0.5, "Neutral": 0.0, "Negative": -0.5}[written]
        reply = Reply(answer=plan.format.write(written, THINK, score), finish="stop")
        record.append(
            {
                "kind": "attempt",
                "id": entry.id,
                "step": "write",
                "attempt": 0,
                "ask": plan.asks["write"],
                "teacher": "m",
                "answer": reply.answer,
                "finish": "stop",
                "truth": plan.truth_row(truth),
                **check_reply(plan, reply, truth),
                "requests": 1,
                "tokens": {},
            }
        )
    record.close()
    return entries


@pytest.fixture
def traces(world, tmp_path):
    data, _ = world(12)
    return write_traces(tmp_path / "out", data, bad=(3, 7))


def decisions(out):
    return [row for row in read_record(Path(out) / "record.jsonl") if row["kind"] == "decision"]


def text(entry, think=THINK):
    polarity = "Neutral" if not entry.score else "Positive" if entry.score > 0 else "Negative"
    return DC((-3.0, 3.0)).write(polarity, think, 0.1 * (entry.score > 0) - 0.1 * (entry.score < 0))


def test_decisions_decide_what_is_learned(traces, tmp_path):
    desk = Desk(tmp_path / "out", traces, "all")
    ids = [entry.id for entry in traces]
    assert {trace.id for trace in read_any_traces(tmp_path / "out")} == {
        id for i, id in enumerate(ids) if i not in (3, 7)
    }
    assert desk.decide(ids[0], "ada", "rejected", 0, reason="an observation is wrong").status == "saved"
    assert desk.decide(ids[1], "ada", "accepted", 0).status == "saved"
    longer = THINK + " He means it."
    assert desk.decide(ids[3], "bob", "edited", 0, text(traces[3], longer)).status == "saved"
    learned = {trace.id: trace for trace in read_any_traces(tmp_path / "out")}
    assert learned.keys() == {id for i, id in enumerate(ids) if i not in (0, 7)}
    assert learned[ids[3]].think == longer and learned[ids[3]].score == traces[3].score
    assert desk.decide(ids[0], "bob", "accepted", 1).status == "saved"  # a mind can be changed
    assert ids[0] in {trace.id for trace in read_any_traces(tmp_path / "out")}
    assert desk.counts() == {"accepted": 2, "edited": 1, "rejected": 0, "left": 9}


def test_nobody_overwrites_anybody(traces, tmp_path):
    one, two = (Desk(tmp_path / "out", traces) for _ in range(2))  # two processes, as far as the record knows
    id = traces[0].id
    assert one.view(id)["version"] == two.view(id)["version"] == 0
    assert one.decide(id, "ada", "rejected", 0).status == "saved"
    late = two.decide(id, "bob", "accepted", 0)
    assert (late.status, late.version) == ("conflict", 1) and "ada decided meanwhile: rejected" in late.notes[0]
    assert [row["by"] for row in decisions(tmp_path / "out")] == ["ada"]
    assert two.view(id)["decision"] == "rejected" and two.decide(id, "bob", "accepted", 1).status == "saved"


def test_many_at_once(traces, tmp_path):
    """Each trace is decided once, by whoever had it; no two hold the same."""
    desks = [Desk(tmp_path / "out", traces) for _ in range(2)]
    results = []

    def work(desk, name):
        while seen := desk.next(name):
            results.append((seen["id"], desk.decide(seen["id"], name, "accepted", seen["version"]).status))

    threads = [threading.Thread(target=work, args=(desks[i % 2], f"r{i}")) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    rows = decisions(tmp_path / "out")
    assert sorted(row["id"] for row in rows) == sorted(e.id for i, e in enumerate(traces) if i not in (3, 7))
    assert sum(status == "saved" for _, status in results) == len(rows) == 10
    assert {status for _, status in results} <= {"saved", "conflict"}


def test_reviewers_get_different_traces(traces, tmp_path):
    desk = Desk(tmp_path / "out", traces)

    def given(*asked):
        return desk.next(*asked)["id"]

    first = given("ada")
    assert given("ada") == first != given("bob")  # a page that is loaded again gets the same
    assert given("ada", first) not in (first, given("bob"))
    assert Desk(tmp_path / "out", traces, "aside").next("ada")["id"] == traces[3].id


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        ("no tags at all", "parse"),
        ("", "parse"),
        ("<polarity>Neutral</polarity>\n<think>a</think>\n<score>9</score>", "parse: score is out of range"),
    ],
)
def test_what_cannot_be_learned_cannot_be_accepted(traces, tmp_path, answer, note):
    desk = Desk(tmp_path / "out", traces, "all")
    result = desk.decide(traces[0].id, "ada", "edited", 0, answer)
    assert result.status == "invalid" and result.notes[0].startswith(note)
    result = desk.decide(traces[3].id, "ada", "accepted", 0)
    assert result.status == "invalid" and result.notes == ("polarity: the teacher's polarity is wrong",)
    assert decisions(tmp_path / "out") == []
    assert desk.decide(traces[0].id, " ", "accepted", 0).status == "invalid"


def test_a_shallow_trace_may_be_accepted_by_a_person(traces, tmp_path):
    desk = Desk(tmp_path / "out", traces, "all")
    assert desk.decide(traces[0].id, "ada", "edited", 0, text(traces[0], "So it is.")).status == "saved"
    assert any(why for why in decisions(tmp_path / "out")[0]["checks"].values())  # and the record says what was wrong


# ---- csv ----


def test_a_csv_goes_out_and_in(traces, tmp_path):
    desk, path = Desk(tmp_path / "out", traces, "all"), tmp_path / "traces.csv"
    assert write_csv(desk, path) == 12
    rows = list(csv.DictReader(open(path, encoding="utf-8-sig")))
    rows[0]["decision"], rows[1]["decision"], rows[2]["decision"] = "accepted", "Rejected ", "maybe"
    rows[3]["decision"], rows[3]["answer"] = "accepted", text(traces[3])
    rows[4]["decision"], rows[4]["by"] = "accepted", "bob"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    counts, refused = read_csv(desk, path, "ada")
    assert counts == {"accepted": 2, "rejected": 1, "edited": 1}
    assert refused == [f"row 4, {traces[2].id}: decision 'maybe' is none of accepted, edited, rejected"]
    assert [row["by"] for row in decisions(tmp_path / "out")] == ["ada", "ada", "ada", "bob"]
    again, _ = read_csv(desk, path, "ada")  # the same file once more changes nothing
    assert again == {"unchanged": 4} and len(decisions(tmp_path / "out")) == 4
    assert desk.decide(traces[0].id, "eve", "rejected", 1).status == "saved"
    _, refused = read_csv(desk, path, "ada")
    assert any("eve decided meanwhile: rejected" in line for line in refused)


@pytest.mark.parametrize(
    "words", ["=1+1", "+49 1", "-3", "@me", "'=x", "'quoted'", "\t=x", 'a,"b"\nc', "plain", "", "词"]
)
def test_no_cell_is_a_formula(words):
    from emsa_jax.distill.review_csv import _plain, guarded

    assert _plain(guarded(words)) == words and guarded(words)[:1] not in set("=+-@\t\r")


def test_a_file_that_is_no_such_csv(traces, tmp_path):
    desk = Desk(tmp_path / "out", traces)
    for content, words in (
        (b"", "no rows"),
        (b"id,what\na,b\n", "no column decision"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"\x00", "no rows|cannot be read"),
    ):
        (tmp_path / "bad.csv").write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_csv(desk, tmp_path / "bad.csv", "ada")


def test_the_job_with_a_csv(traces, tmp_path, capsys):
    fields = {"data": str(tmp_path / "data"), "traces": str(tmp_path / "out")}
    review(ReviewOptions(**fields, csv_out=str(tmp_path / "t.csv")))
    content, id = (tmp_path / "t.csv").read_text(encoding="utf-8-sig"), traces[0].id
    (tmp_path / "t.csv").write_text(content.replace(f"{id},,", f"{id},rejected,"))
    review(ReviewOptions(**fields, csv_in=str(tmp_path / "t.csv"), by="ada"))
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert counts == {"accepted": 0, "edited": 0, "rejected": 1, "left": 9}
    for wrong in ({"data": ""}, {"traces": str(tmp_path)}, {"csv_in": "a", "by": ""}, {"csv_in": "a", "csv_out": "b"}):
        with pytest.raises(InputError):
            review(ReviewOptions(**{**fields, **wrong}))


# ---- who is served ----


@pytest.fixture
def served(traces, tmp_path):
    server = ReviewServer(Desk(tmp_path / "out", traces), lambda id: {"frames": [], "sound": ""}, review_page)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(server, method, path, token="", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=10)
    headers = {"x-token": token, **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, path, body if isinstance(body, bytes | None) else json.dumps(body), headers)
    response = connection.getresponse()
    return response.status, response.read(), dict(response.getheaders())


def test_only_with_the_token_and_from_this_machine(served, traces, tmp_path):
    port, token = served.server_address[1], served.token
    body = {"id": traces[0].id, "by": "eve", "verdict": "rejected", "version": 0, "answer": "", "reason": ""}
    assert served.server_address[0] == "127.0.0.1"
    for method, path in (("GET", "/api/next?by=eve"), ("GET", f"/api/item?id={traces[0].id}"), ("POST", "/api/decide")):
        sent = body if method == "POST" else None
        assert ask(served, method, path, "", sent)[0] == 403
        assert ask(served, method, path, token[:-1], sent)[0] == 403
        assert ask(served, method, f"{path}?token={token}", "", sent)[0] == 403
        for host in (f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port + 1}", "", f"127.0.0.1:{port}.evil"):
            assert ask(served, method, path, token, sent, host=host)[0] == 403
        assert ask(served, method, path, token, sent, origin="http://evil.example")[0] == 403
    for query in ("", "?token=", f"?token={token}x", f"?by={token}"):
        status, content, _ = ask(served, "GET", f"/{query}")
        assert status == 403 and token.encode() not in content
    assert ask(served, "GET", f"/?token={token}", host="evil.example")[0] == 403
    assert decisions(tmp_path / "out") == []
    assert (
        ask(served, "POST", "/api/decide", token, body, host=f"localhost:{port}", origin=f"http://localhost:{port}")[0]
        == 200
    )
    assert len(decisions(tmp_path / "out")) == 1


def test_the_page_loads_nothing_from_elsewhere(served, traces, tmp_path):
    status, content, headers = ask(served, "GET", f"/?token={served.token}&by=%3Cscript%3E")
    page = content.decode()
    assert status == 200 and '<script>"' not in page and 'value="&lt;script&gt;"' in page
    policy = html.unescape(page)
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert "http" not in page.replace("http-equiv", "")
    assert headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-store"
    assert served.token not in page


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"id": 7}',
        b"[" * 100_000,
        b'{"id": "a", "by": "b", "verdict": "accepted", "version": "0", "answer": "", "reason": ""}',
    ],
)
def test_no_body_stops_the_server(served, body):
    assert ask(served, "POST", "/api/decide", served.token, body)[0] == 400
    assert ask(served, "GET", "/api/next?by=a", served.token)[0] == 200
    assert ask(served, "GET", "/api/else", served.token)[0] == 404
    assert ask(served, "POST", "/api/decide", served.token, None, content_length="99999999")[0] == 413


def test_conflicts_and_faults_have_their_status(served, traces):
    body = {"id": traces[0].id, "by": "ada", "verdict": "rejected", "version": 0, "answer": "", "reason": ""}
    assert ask(served, "POST", "/api/decide", served.token, body)[0] == 200
    status, content, _ = ask(served, "POST", "/api/decide", served.token, body)
    assert status == 409 and json.loads(content)["version"] == 1
    assert ask(served, "POST", "/api/decide", served.token, body | {"verdict": "edited", "version": 1})[0] == 422
