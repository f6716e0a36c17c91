"""The record of a distillation as training reads it: what its rows say about each sample, and the traces that stand.

Kinds of rows that concern a sample: "attempt", an answer of the teacher; "judge", an answer about an answer; "filter",
an old answer checked again with other checks; "decision", a person's. Rows are the lines of `record.jsonl`, a file that
only grows (`append_log.CheckedJsonLines`); a row's place is any number that grows with the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from emsa_jax.answers.traces import Trace, read_traces
from emsa_jax.append_log import CheckedJsonLines, Row, read_log
from emsa_jax.errors import InputError

RECORD = "record.jsonl"
RECORD_FORMAT = CheckedJsonLines()
ACCEPTED, REJECTED, FAILED, PENDING = "accepted", "rejected", "failed", "pending"  # pending: a judge has to see it


class AnswerKey(NamedTuple):
    """Which answer about a sample. ask: what was asked, by hash; attempts are counted for each."""

    step: str  # "write" | "refine"
    attempt: int
    ask: str


def answer_key(row: Row) -> AnswerKey:
    """The key that a row, or the "of" of a row, names."""
    return AnswerKey(row["step"], row["attempt"], row["ask"])


@dataclass(slots=True)
class RecordedAnswer:
    """What a record says about one answer.

    verdict, and the hash of the filter that gave it; place of the answer's row; reward, where answers are ranked;
    times_judged: how often a judge was asked about it; judge_verdict: what a judge decided, "" for nothing yet.
    """

    verdict: str
    filter: str
    place: int
    reward: float = 0.0
    times_judged: int = 0
    judge_verdict: str = ""


@dataclass(slots=True)
class RecordedSample:
    """What a record says about one sample: its answers in the order in which they came, and people's last decision."""

    answers: dict[AnswerKey, RecordedAnswer] = field(default_factory=dict)
    decision: str = ""  # "", "accepted", "edited", "rejected"
    decision_place: int = -1  # place of the decision's row
    decided_answer_place: int = -1  # place of the answer that was decided on
    version: int = 0  # how many decisions there were

    def take(self, row: Row, place: int) -> None:
        """Adds a row about this sample."""
        kind = row["kind"]
        if kind == "attempt":
            answer = RecordedAnswer(row["verdict"], row["filter"], place, row.get("reward", 0.0))
            self.answers[answer_key(row)] = answer
            return
        answer = self.answers.get(answer_key(row["of"])) if row.get("of") else None
        if kind == "decision":
            self.decision, self.decision_place, self.version = row["verdict"], place, row["version"]
            self.decided_answer_place = answer.place if answer else -1
        elif answer is None:
            return
        elif kind == "judge":
            answer.times_judged += 1
            if row["verdict"] != FAILED:
                answer.judge_verdict = answer.verdict = row["verdict"]
        elif kind == "filter":
            answer.verdict, answer.filter = row["verdict"], row["filter"]

    def standing(self) -> AnswerKey | None:
        """The answer that the checks let stand: refined before written, then the best by reward, then the last."""
        found = [
            (key.step == "refine", answer.reward, number, key)
            for number, (key, answer) in enumerate(self.answers.items())
            if answer.verdict == ACCEPTED
        ]
        return max(found)[3] if found else None

    def trace_place(self) -> int | None:
        """The place of the row that holds the text to learn from; None where there is none."""
        if self.decision:
            return {"accepted": self.decided_answer_place, "edited": self.decision_place}.get(self.decision)
        key = self.standing()
        return None if key is None else self.answers[key].place


def take_row(samples: dict[str, RecordedSample], row: Row, place: int) -> None:
    """Adds a row to what is known of its sample. Rows about no sample, and kinds of a later version, add nothing."""
    if row["kind"] in ("attempt", "judge", "filter", "decision"):
        samples.setdefault(row["id"], RecordedSample()).take(row, place)


def is_record(path: str | Path) -> bool:
    """Whether a file is a record, or a directory holds one."""
    try:
        with open(record_path(path), "rb") as file:
            return RECORD_FORMAT.has_checksum(file.readline())
    except OSError:
        return False


def record_path(path: str | Path) -> Path:
    """The record's file: of a directory the one in it, else the path itself."""
    return Path(path) / RECORD if Path(path).is_dir() else Path(path)


def read_record(path: str | Path) -> Iterator[Row]:
    """The whole rows of a record's file, in order, one at a time. Raises InputError naming the line that is damaged."""
    return read_log(path, RECORD_FORMAT)


def read_any_traces(path: str | Path) -> list[Trace]:
    """Traces from a record (its file or directory), or from a teacher's jsonl."""
    return list(accepted_traces(path)) if is_record(path) else read_traces(path)


def accepted_traces(path: str | Path) -> Iterator[Trace]:
    """The trace of each sample that the filter, the judge and people let stand; its score is the true one.

    path: of a record's file or directory. Raises InputError for a damaged line, and for a trace without a field.
    """
    path = record_path(path)
    samples: dict[str, RecordedSample] = {}
    for place, row in enumerate(read_record(path)):
        take_row(samples, row, place)
    places = {sample.trace_place() for sample in samples.values()}
    for place, row in enumerate(read_record(path)):
        if place in places:
            yield _trace(row, path)


def cap_traces(traces: list[Trace], most: int, seed: int) -> list[Trace]:
    """At most `most` traces of each polarity (0: all), in their order.

    Which ones depends on the seed and the ids alone, so that one trace more or less changes at most one of them.
    """
    counts: dict[str, int] = {}
    chosen = set()
    for trace in sorted(traces, key=lambda trace: hashlib.sha256(f"{seed} {trace.id}".encode()).digest()):
        counts[trace.polarity] = counts.get(trace.polarity, 0) + 1
        if not most or counts[trace.polarity] <= most:
            chosen.add(trace.id)
    return [trace for trace in traces if trace.id in chosen]


def _trace(row: Row, path: Path) -> Trace:
    parsed = row["parsed"]
    try:
        return Trace(row["id"], parsed["polarity"], parsed["think"], float(row["truth"]["score"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: the trace of {row['id']!r} has no {error}; decide on it again") from error
