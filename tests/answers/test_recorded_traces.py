"""Traces from a record or from a teacher's file."""

from emsa_jax.answers.recorded_traces import RECORD, RECORD_FORMAT, cap_traces, is_record, read_any_traces
from emsa_jax.answers.traces import Trace
from emsa_jax.append_log import AppendLog


def attempt(id, n, verdict, think, step="write"):
    return {
        "kind": "attempt",
        "id": id,
        "step": step,
        "attempt": n,
        "ask": "w",
        "verdict": verdict,
        "filter": "f",
        "parsed": {"polarity": "Positive", "think": think},
        "truth": {"score": 0.5},
    }


def test_a_record_is_known_by_its_lines(tmp_path):
    (tmp_path / "traces.jsonl").write_text('{"id": "a", "polarity": "Positive", "think": "so", "score": 1}\n')
    assert not is_record(tmp_path / "traces.jsonl") and not is_record(tmp_path) and not is_record(tmp_path / "none")
    assert read_any_traces(tmp_path / "traces.jsonl") == [Trace("a", "Positive", "so", 1.0)]


def test_what_stands_is_learned_from(tmp_path):
    log = AppendLog(tmp_path / RECORD, RECORD_FORMAT)
    log.append(
        {"kind": "settings", "hash": "h"},
        attempt("a", 0, "rejected", "first"),
        attempt("a", 1, "accepted", "second"),
        attempt("b", 0, "accepted", "written"),
        attempt("b", 0, "accepted", "refined", step="refine"),
        attempt("c", 0, "rejected", "alone"),
        {"kind": "a later kind", "id": "c"},
    )
    log.close()
    assert is_record(tmp_path) and is_record(tmp_path / RECORD)
    assert [(trace.id, trace.think) for trace in read_any_traces(tmp_path)] == [("a", "second"), ("b", "refined")]
    assert read_any_traces(tmp_path) == read_any_traces(tmp_path / RECORD)


def test_a_cap_takes_so_many_of_each_polarity():
    traces = [Trace(str(i), "Positive" if i % 3 else "Negative", "so", 0.0) for i in range(30)]
    chosen = cap_traces(traces, 5, seed=0)
    assert [sum(trace.polarity == name for trace in chosen) for name in ("Positive", "Negative")] == [5, 5]
    assert chosen == [trace for trace in traces if trace in chosen] and cap_traces(traces, 0, seed=0) == traces
    fewer = cap_traces(traces[1:], 5, seed=0)
    assert len({trace.id for trace in fewer} - {trace.id for trace in chosen}) <= 1
