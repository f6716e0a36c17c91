"""What came of a distillation: counts by class, modality and reason, and examples of each."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emsa_jax.answers.labels import POLARITIES
from emsa_jax.answers.recorded_traces import FAILED, PENDING, RecordedSample, read_record
from emsa_jax.append_log import Row
from emsa_jax.distill.progress import Progress
from emsa_jax.distill.teacher_options import BudgetOptions

KEPT, ASIDE, OPEN = "kept", "kept aside", "open"


@dataclass(slots=True)
class _Asked:
    """What the counts need of a sample that was asked about: its class, the modalities that the teacher got, why its
    last answer was not kept, and the place of that row."""

    polarity: str
    modalities: str
    reason: str
    place: int


def count_yields(
    path: str | Path, budget: BudgetOptions, examples: int = 3, unsettled: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    """(counts as JSON values, outcome or reason -> rows that are examples of it), from a record.

    budget: for the prices. examples: how many of each outcome. unsettled: ids of samples to be asked about again.

    counts: samples {"asked", "kept", "kept aside", "open"}, of these "refined" and "by people"; by_polarity and
    by_modalities {value: {"asked", "kept"}}; reasons {reason: samples kept aside}; rejected {check: answers};
    answers, requests, tokens, money.
    """
    progress, asked, rejected, answers = Progress(), {}, Counter(), 0
    for place, row in enumerate(read_record(path)):
        progress.take(row, place)
        if row["kind"] in ("attempt", "filter"):
            asked[row["id"]] = _asked(row, place, asked.get(row["id"]))
        if row["kind"] == "judge" and row["verdict"] != "accepted":
            asked[row["id"]].reason = "judge"
        answers += row["kind"] == "attempt"
        if row["kind"] in ("attempt", "judge") and row["verdict"] not in ("accepted", PENDING):
            rejected["judge" if row["kind"] == "judge" else _reason(row)] += 1
    outcomes = {id: _outcome(progress, id, one, id in unsettled) for id, one in asked.items()}
    kept = {id for id, outcome in outcomes.items() if outcome == KEPT}
    reasons = Counter(outcome for outcome in outcomes.values() if outcome not in (KEPT, OPEN))
    spent = progress.spent
    counts = {
        "samples": {
            "asked": len(asked),
            KEPT: len(kept),
            ASIDE: reasons.total(),
            OPEN: sum(outcome == OPEN for outcome in outcomes.values()),
            "refined": sum(_is_refined(progress.samples[id]) for id in kept),
            "by people": sum(bool(sample.decision) for sample in progress.samples.values()),
        },
        "by_polarity": _by(asked, kept, "polarity", POLARITIES),
        "by_modalities": _by(asked, kept, "modalities"),
        "reasons": _sorted(reasons),
        "rejected": _sorted(rejected),
        "answers": answers,
        "requests": spent.requests,
        "tokens": {"prompt": spent.prompt_tokens, "answer": spent.answer_tokens},
        "money": round(spent.money(budget.price_prompt, budget.price_answer), 4),
    }
    return counts, _examples(path, progress, asked, outcomes, examples)


def _asked(row: Row, place: int, before: _Asked | None) -> _Asked:
    truth = row["truth"]
    place = place if row["kind"] == "attempt" or before is None else before.place
    return _Asked(truth["polarity"], " + ".join(truth["modalities"]), _reason(row), place)


def _reason(row: Row) -> str:
    if row["verdict"] == FAILED:
        return "no answer"
    return row["reason"].partition(":")[0] or row["verdict"]


def _outcome(progress: Progress, id: str, one: _Asked, unsettled: bool) -> str:
    sample = progress.samples[id]
    if sample.trace_place() is not None:
        return KEPT
    if sample.decision:
        return "a person rejected it"
    if unsettled or any(answer.verdict == PENDING for answer in sample.answers.values()):
        return OPEN
    return one.reason


def _is_refined(sample: RecordedSample) -> bool:
    key = sample.standing()
    return key is not None and key.step == "refine"


def _by(asked: dict[str, _Asked], kept: set[str], name: str, known: Sequence[str] = ()) -> dict[str, dict[str, int]]:
    every = Counter(getattr(one, name) for one in asked.values())
    of_kept = Counter(getattr(asked[id], name) for id in kept)
    return {value: {"asked": every[value], "kept": of_kept[value]} for value in dict.fromkeys([*known, *sorted(every)])}


def _sorted(counter: Counter) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda pair: (-pair[1], pair[0])))


def _examples(
    path: Path, progress: Progress, asked: dict[str, _Asked], outcomes: dict[str, str], number: int
) -> dict[str, list[Row]]:
    """The same samples each time, whatever the order of the rows: those whose ids have the lowest hashes."""
    chosen: dict[str, list[str]] = {}
    for id in sorted(outcomes, key=lambda id: hashlib.sha256(id.encode()).digest()):
        if len(of := chosen.setdefault(outcomes[id], [])) < number:
            of.append(id)
    places = {}
    for outcome, ids in chosen.items():
        for id in ids:
            place = progress.samples[id].trace_place()
            places[asked[id].place if place is None else place] = outcome
    found: dict[str, list[Row]] = {outcome: [] for outcome in chosen}
    for place, row in enumerate(read_record(path) if places else ()):
        if place in places:
            found[places[place]].append(row)
    return {outcome: sorted(rows, key=lambda row: row["id"]) for outcome, rows in found.items()}
