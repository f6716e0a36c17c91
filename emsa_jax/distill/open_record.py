"""The record of a distillation, open for one process: locked, its settings noted, and what is left to ask about."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.answers.recorded_traces import FAILED, PENDING, RECORD, RECORD_FORMAT, REJECTED, AnswerKey, RecordedAnswer
from emsa_jax.append_log import AppendLog, Row
from emsa_jax.distill.checks import Truth
from emsa_jax.distill.distill_plan import DistillPlan, LabelledSample
from emsa_jax.distill.progress import Progress, next_step
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class OpenRecord:
    """directory: of the record and its report. log: the rows of the record. progress: what they add up to by now."""

    directory: Path
    log: AppendLog
    progress: Progress

    @property
    def path(self) -> Path:
        """The record's file."""
        return self.log.path

    def note_settings(self, plan: DistillPlan, samples: Sequence[LabelledSample]) -> int:
        """Notes what is asked for, and checks earlier answers again where the filter or the labels have changed.

        Returns how many answers were checked again.
        """
        settings = plan.settings()
        if settings["hash"] not in self.progress.settings:
            self.log.append(settings)
        return recheck(plan, self.log, self.progress, {one.entry.id: one.truth for one in samples})

    def unsettled(self, plan: DistillPlan, samples: Sequence[LabelledSample]) -> list[LabelledSample]:
        """The samples that are to be asked about."""
        return [
            one
            for one in samples
            if next_step(self.progress.sample(one.entry.id), plan.asks, plan.attempts, plan.refine)
        ]


@contextlib.contextmanager
def open_record(directory: str | Path, format_name: str) -> Iterator[OpenRecord]:
    """The record in a directory, which is made where there is none; locked until the end, or until this process dies.

    Raises InputError where another process has it, where it holds traces of another answer format, and where it cannot
    be written.
    """
    directory = Path(directory)
    with _locked(directory):
        progress = Progress()
        log = AppendLog(directory / RECORD, RECORD_FORMAT, progress.take)
        try:
            if others := progress.formats - {format_name}:
                raise InputError(
                    f"config.out: {directory} holds traces of format={', '.join(others)}; name another "
                    f"directory for format={format_name}"
                )
            yield OpenRecord(directory, log, progress)
        except OSError as error:
            raise InputError(f"{directory}: cannot be written: {error.strerror}") from error
        finally:
            log.close()


def recheck(plan: DistillPlan, log: AppendLog, progress: Progress, truths: dict[str, Truth]) -> int:
    """Checks answers again whose filter, or what is known of the sample, has changed since; nothing is asked.

    truths: sample id -> what is known of it now. Returns how many answers were checked again.
    """
    changed = 0
    for id, truth in truths.items():
        for key, answer in list(progress.sample(id).answers.items()):
            if answer.filter != plan.filter_hash(truth):
                log.append(_filter_row(plan, log, id, key, answer, truth))
                changed += 1
    return changed


def _filter_row(
    plan: DistillPlan, log: AppendLog, id: str, key: AnswerKey, answer: RecordedAnswer, truth: Truth
) -> Row:
    row = log.at(answer.place)
    if row["answer"] is None:
        decided = {"checks": {}, "verdict": FAILED, "reason": row["reason"], "filter": plan.filter_hash(truth)}
    else:
        decided = plan.check(row["answer"], row["finish"], truth)
    if decided["verdict"] == PENDING and answer.judge_verdict:  # what a judge said is not asked for again
        decided["verdict"] = answer.judge_verdict
        decided["reason"] = "judge: found it unsound" if answer.judge_verdict == REJECTED else ""
    return {"kind": "filter", "id": id, "of": key._asdict(), "truth": plan.truth_row(truth), **decided}


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = open(directory / ".lock", "a")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InputError(f"config.out: cannot use {directory}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"config.out: another distill is at work in {directory}; wait for it") from error
        yield
