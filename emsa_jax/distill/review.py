"""The review by people: who gets which trace, and what becomes of a decision. Many reviewers may work at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.formats import make_format
from emsa_jax.answers.labels import polarity_of
from emsa_jax.answers.recorded_traces import RECORD, RECORD_FORMAT, AnswerKey, RecordedSample
from emsa_jax.append_log import AppendLog, Row
from emsa_jax.data.records import Entry
from emsa_jax.distill.checks import Checks, check
from emsa_jax.distill.distill_plan import DistillPlan, parsed_row
from emsa_jax.distill.distillation import now
from emsa_jax.distill.progress import Progress
from emsa_jax.distill.teacher_options import FilterOptions, TeacherOptions
from emsa_jax.distill.teacher_prompts import Prompts
from emsa_jax.errors import InputError

VERDICTS = ("accepted", "edited", "rejected")
Show = Literal["kept", "aside", "all"]
# checks that a person cannot overrule, since nothing could be learned from such a trace
FIRM = ("parse", "polarity", "sentiment", "concepts", "writable")
LEASE_SECONDS = 300.0  # for which nobody else gets a trace


@dataclass(frozen=True)
class Result:
    """What became of a decision. status: "saved"; "conflict", where somebody was faster; "invalid", as notes say."""

    status: Literal["saved", "conflict", "invalid"]
    notes: tuple[str, ...] = ()
    version: int = 0


@dataclass
class Desk:
    """The traces of a record and the people who work on them. Safe to call from several threads; other processes may
    append to the same record at the same time.

    directory: of the record. entries: the samples, in the order in which reviewers get them. show: the samples whose
    trace was kept, those that were kept aside, or all. Raises InputError for a directory that distill did not make,
    and for other concepts than distill had.
    """

    directory: Path
    entries: Sequence[Entry]
    show: Show = "kept"
    concepts: ConceptOptions = ConceptOptions()  # of formats that name a class, as distill had them
    _leases: dict[str, tuple[str, float]] = field(default_factory=dict)  # id -> (reviewer, until when)
    _mutex: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.progress, self._settings = Progress(), {}
        if not (Path(self.directory) / RECORD).is_file():
            raise InputError(f"{self.directory} holds no {RECORD}: run distill first")
        self.record = AppendLog(Path(self.directory) / RECORD, RECORD_FORMAT, self._take)
        if not self._settings:
            raise InputError(f"{self.directory}: its record says nothing of what was asked; run distill first")
        s = self._settings
        self.format = make_format(s["format"], tuple(s["score_range"]), s["neutral_eps"], self.concepts)
        if any(s[name] != value for name, value in self.format.identity().items()):
            raise InputError(f"{self.directory} was made with other config.concepts; give them as distill had them")
        teacher = TeacherOptions(video=s["teacher"]["video"], audio=s["teacher"]["audio"])
        self.plan = DistillPlan(
            method=s["method"],
            format=self.format,
            prompts=Prompts({}, s["prompts"]),
            teacher=teacher,
            filter=FilterOptions(**{**s["filter"], "leak_phrases": tuple(s["filter"]["leak_phrases"])}),
            neutral_eps=s["neutral_eps"],
        )
        self._entries = {entry.id: entry for entry in self.entries}

    def next(self, by: str, after: str = "") -> Row | None:
        """The trace that the reviewer `by` should look at now, as `view` has it; None where nothing is left.

        This is the one that they have, or else the first undecided one behind the sample `after` that nobody else has,
        from the end on to the beginning.
        """
        with self._mutex:
            self.record.refresh()
            id = self._next(by, after)
            return self._view(id) if id else None

    def _next(self, by: str, after: str) -> str | None:
        ids = [entry.id for entry in self.entries if self._open(entry.id)]
        mine = [id for id in ids if self._leases.get(id, ("",))[0] == by]
        if not after and mine:
            return self._lease(mine[0], by)
        start = list(self._entries).index(after) + 1 if after in self._entries else 0
        order = {entry.id: (i - start) % len(self.entries) for i, entry in enumerate(self.entries)}
        free = [id for id in ids if id != after and not self._is_leased(id, by)]
        return self._lease(min(free, key=order.__getitem__), by) if free else None

    def view(self, id: str) -> Row:
        """What a reviewer sees of a sample's trace, as JSON values."""
        with self._mutex:
            self.record.refresh()
            return self._view(id)

    def _view(self, id: str) -> Row:
        entry, sample = self._entries[id], self.progress.samples[id]
        row = self._row_of(sample)
        truth = self.plan.truth(entry)
        answer = row.get("answer") or ""
        checks = self._check(answer, row.get("finish") or "", entry)
        return {
            "id": id,
            "text": entry.text.strip(),
            "language": entry.language,
            "facts": [
                polarity_of(truth.score, self.plan.neutral_eps),
                f"score {truth.score:g}",
                *([entry.label] if entry.label else []),
                *(f"{n}: {v}" for n, v in entry.concepts),
            ],
            "answer": answer,
            "problems": [f"{name}: {why}" for name, why in checks.items() if why],
            "history": self._history(row, sample),
            "version": sample.version,
            "decision": sample.decision,
        }

    def decide(self, id: str, by: str, verdict: str, version: int, answer: str = "", reason: str = "") -> Result:
        """Adds a decision to the record, unless somebody decided since the reviewer saw this version.

        by: the reviewer. verdict: of `VERDICTS`. answer: the new text where the verdict is "edited". An accepted or
        edited text has to be one that can be learned from.
        """
        if verdict not in VERDICTS or not by.strip():
            return Result("invalid", ("a decision needs a verdict and a name",))
        with self._mutex:
            self.record.refresh()
            entry, sample = self._entries.get(id), self.progress.samples.get(id)
            if entry is None or sample is None:
                return Result("invalid", (f"there is no trace of {id!r}",))
            row_seen = self._row_of(sample)
            text = answer.encode("utf-8", "replace").decode() if verdict == "edited" else row_seen.get("answer") or ""
            checks = self._check(text, row_seen.get("finish") or "" if verdict == "accepted" else "stop", entry)
            if verdict != "rejected" and (wrong := [f"{name}: {checks[name]}" for name in FIRM if checks.get(name)]):
                return Result("invalid", tuple(wrong), sample.version)
            truth = self.plan.truth(entry)
            if verdict == "accepted" and row_seen["kind"] == "decision":  # the text is that of an earlier edit
                verdict = "edited"
            row = {
                "kind": "decision",
                "id": id,
                "by": by.strip()[:80],
                "verdict": verdict,
                "of": _answer_key(row_seen),
                "answer": text,
                "reason": reason[:500],
                "parsed": parsed_row(self.format, text),
                "checks": checks,
                "version": version + 1,
                "truth": self.plan.truth_row(truth),
                "time": {"ended": now()},
            }
            if not self.record.append(row, unless=lambda: self.progress.samples[id].version != version):
                sample = self.progress.samples[id]
                by_whom = self.record.at(sample.decision_place).get("by", "somebody")
                return Result("conflict", (f"{by_whom} decided meanwhile: {sample.decision}",), sample.version)
            self._leases.pop(id, None)
            return Result("saved", (), version + 1)

    def counts(self) -> dict[str, int]:
        """How many traces are decided on, in which way, and how many are left."""
        with self._mutex:
            self.record.refresh()
            found = {
                verdict: sum(sample.decision == verdict for sample in self.progress.samples.values())
                for verdict in VERDICTS
            }
            return found | {"left": sum(self._open(entry.id) for entry in self.entries)}

    def ids(self) -> list[str]:
        """The ids of all samples that reviewers get, decided on or not."""
        return [entry.id for entry in self.entries if self._shows(entry.id)]

    def _take(self, row: Row, place: int) -> None:
        if row["kind"] == "settings":
            self._settings = row
        self.progress.take(row, place)

    def _shows(self, id: str) -> bool:
        sample = self.progress.samples.get(id)
        if sample is None or not sample.answers or self._entries[id].score is None:
            return False
        return self.show == "all" or (sample.standing() is not None) == (self.show == "kept")

    def _open(self, id: str) -> bool:
        return self._shows(id) and not self.progress.samples[id].decision

    def _is_leased(self, id: str, by: str) -> bool:
        who, until = self._leases.get(id, ("", 0.0))
        return who not in ("", by) and time.monotonic() < until

    def _lease(self, id: str, by: str) -> str:
        self._leases = {one: (who, until) for one, (who, until) in self._leases.items() if who != by}
        self._leases[id] = (by, time.monotonic() + LEASE_SECONDS)
        return id

    def _row_of(self, sample: RecordedSample) -> Row:
        """The row whose text a reviewer sees: an edited one, else the answer that stands, else the last answer."""
        if sample.decision == "edited":
            return self.record.at(sample.decision_place)
        key = sample.standing() or list(sample.answers)[-1]
        return self.record.at(sample.answers[key].place)

    def _check(self, answer: str, finish: str, entry: Entry) -> Checks:
        return check(answer, finish, self.plan.truth(entry), self.format, self.plan.filter)

    def _history(self, row: Row, sample: RecordedSample) -> str:
        if row["kind"] == "decision":
            return f"edited by {row['by']}"
        which = f"{row['teacher']}, {row['step']}, attempt {row['attempt'] + 1} of {len(sample.answers)}"
        if sample.decision:
            return f"{which}; {sample.decision} by {self.record.at(sample.decision_place)['by']}"
        return f"{which}; {row['verdict']}{': ' + row['reason'] if row['reason'] else ''}"


def _answer_key(row: Row) -> dict[str, Any] | None:
    """Which answer a decision is about."""
    if row["kind"] == "decision":
        return row["of"]
    return AnswerKey(row["step"], row["attempt"], row["ask"])._asdict()
