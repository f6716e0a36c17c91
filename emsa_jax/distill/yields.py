"""What came of a distillation, in numbers: by class, by modality, by reason; and samples of each."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emsa_jax.answers.labels import POLARITIES
from emsa_jax.answers.recorded_traces import FAILED, PENDING, read_record
from emsa_jax.append_log import Row
from emsa_jax.distill.progress import Progress
from emsa_jax.distill.teacher_options import BudgetOptions

KEPT, ASIDE = "kept", "kept aside"


@dataclass(slots=True)
class Seen:
    """Of a sample: its class, the modalities shown, why its last answer was not kept, and that row's place."""

    polarity: str
    modalities: str
    reason: str
    place: int


def yields(path: str | Path, budget: BudgetOptions, examples: int = 3, unsettled: Collection[str] = ()
           ) -> tuple[dict[str, Any], dict[str, list[Row]]]:  # fmt: skip
    """(counts as JSON values, outcome or reason -> rows that show it), from the record. unsettled: ids of samples that
    will be asked about again.

    counts: samples {"asked", "kept", "kept aside", "open"}, of these "refined" and "by people"; by_polarity and
    by_modalities {value: {"asked", "kept"}}; reasons {reason: samples kept aside}; rejected {check: answers};
    answers, requests, tokens, money."""
    progress, seen, rejected, answers = Progress(), {}, Counter(), 0
    for place, row in enumerate(read_record(path)):
        progress.take(row, place)
        if row["kind"] in ("attempt", "filter"):
            truth, last = row["truth"], seen.get(row["id"])
            seen[row["id"]] = Seen(truth["polarity"], " + ".join(truth["modalities"]), _why(row),
                                   place if row["kind"] == "attempt" or last is None else last.place)  # fmt: skip
        if row["kind"] == "judge" and row["verdict"] != "accepted":
            seen[row["id"]].reason = "judge"
        if row["kind"] == "attempt":
            answers += 1
        if row["kind"] in ("attempt", "judge") and row["verdict"] not in ("accepted", PENDING):
            rejected["judge" if row["kind"] == "judge" else _why(row)] += 1
    outcome = {id: _outcome(progress, id, one, id in unsettled) for id, one in seen.items()}
    kept = {id for id, what in outcome.items() if what == KEPT}
    spent = progress.spent
    counts = {
        "samples": {"asked": len(seen), KEPT: len(kept), ASIDE: sum(what not in (KEPT, "open") for what in
                    outcome.values()), "open": sum(what == "open" for what in outcome.values()),
                    "refined": sum(progress.samples[id].standing() is not None
                                   and progress.samples[id].standing().step == "refine" for id in kept),
                    "by people": sum(bool(sample.decision) for sample in progress.samples.values())},
        "by_polarity": _by(seen, kept, "polarity", POLARITIES),
        "by_modalities": _by(seen, kept, "modalities"),
        "reasons": _sorted(Counter(what for what in outcome.values() if what not in (KEPT, "open"))),
        "rejected": _sorted(rejected),
        "answers": answers,
        "requests": spent.requests,
        "tokens": {"prompt": spent.prompt_tokens, "answer": spent.answer_tokens},
        "money": round(spent.money(budget.price_prompt, budget.price_answer), 4),
    }  # fmt: skip
    return counts, _examples(path, progress, seen, outcome, examples)


def _why(row: Row) -> str:
    if row["verdict"] == FAILED:
        return "no answer"
    return row["reason"].partition(":")[0] or row["verdict"]


def _outcome(progress: Progress, id: str, one: Seen, unsettled: bool) -> str:
    sample = progress.samples[id]
    if sample.trace_place() is not None:
        return KEPT
    if sample.decision:
        return "a person rejected it"
    if unsettled or any(answer.verdict == PENDING for answer in sample.answers.values()):
        return "open"
    return one.reason


def _by(seen: dict[str, Seen], kept: set[str], name: str, known=()) -> dict[str, dict[str, int]]:
    values = dict.fromkeys([*known, *sorted({getattr(one, name) for one in seen.values()})])
    return {value: {"asked": sum(getattr(one, name) == value for one in seen.values()),
                    "kept": sum(getattr(seen[id], name) == value for id in kept)} for value in values}  # fmt: skip


def _sorted(counter: Counter) -> dict[str, int]:
    return dict(sorted(counter.items(), key=lambda pair: (-pair[1], pair[0])))


def _examples(path, progress: Progress, seen: dict[str, Seen], outcome: dict[str, str], number: int):
    """The same samples each time, whatever the order of the rows: those whose ids hash lowest."""
    chosen: dict[str, list[str]] = {}
    for id in sorted(outcome, key=lambda id: hashlib.sha256(id.encode()).digest()):
        if len(of := chosen.setdefault(outcome[id], [])) < number:
            of.append(id)
    places = {}
    for what, ids in chosen.items():
        for id in ids:
            place = progress.samples[id].trace_place()
            places[seen[id].place if place is None else place] = what
    found: dict[str, list[Row]] = {what: [] for what in chosen}
    for place, row in enumerate(read_record(path) if places else ()):
        if place in places:
            found[places[place]].append(row)
    return {what: sorted(rows, key=lambda row: row["id"]) for what, rows in found.items()}
