"""What the page of a comparison shows: results, curves and answers of several runs side by side, with paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from emsa_jax.data.datasets import PUPPETS, PUPPETS_NOTE
from emsa_jax.errors import InputError
from emsa_jax.evaluation.paired import Evaluated, paired
from emsa_jax.evaluation.result_files import read_predictions
from emsa_jax.report.cases import make_cases, numbered
from emsa_jax.report.result_table import POLICIES, shown_names, unread
from emsa_jax.report.run_content import Content, Result
from emsa_jax.report.run_files import (
    ReportSettings,
    data_name,
    hints_ignored,
    made,
    read_card,
    read_metrics,
    results_of,
    statuses,
    warnings_of,
)

Answered = Mapping[str, Mapping[str, Evaluated]]
"""Data set -> name of what is compared -> its answers."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One of what is compared: the last policy of a run, or the policy or scored csv of it that was chosen."""

    workdir: Path
    settings: ReportSettings
    chosen: str = ""


def compare_content(entries: Mapping[str, Compared], resamples: int) -> Content:
    """The content of the page. entries: by name, the baseline first. resamples: of the paired tests (0: none).

    Data sets of one name with other clips or labels are different ones, and no test pairs what was measured under
    different conditions. Raises InputError if nothing is evaluated, or for a damaged file of a run."""
    results, answered = _results(entries)
    if not results:
        raise InputError("config.runs: none of them is evaluated yet")
    evaluated = {name for found in answered.values() for name in found}
    runs = {name: entry for name, entry in entries.items() if not entry.chosen}
    tests, test_notes = _tests(answered, resamples) if resamples else ([], [])
    cases = []
    for data, by_name in answered.items():
        if len(by_name) > 1:
            names = list(by_name)
            cases += make_cases(data, {name: one.rows for name, one in by_name.items()}, names[0], names[-1])
    puppets = any(entry.settings.data in PUPPETS for entry in entries.values())
    return Content(
        title="Runs compared: " + ", ".join(entries),
        lead=_lead(results),
        results=results,
        rows={name: read_metrics(run.workdir) for name, run in runs.items()},
        cases=numbered(cases, {}),
        paired=tests,
        hints={name: hints_ignored(run.workdir, run.settings) for name, run in runs.items()},
        cards={name: card for name, run in runs.items() if (card := read_card(run.workdir))},
        made=_differences({name: made(run.workdir) for name, run in runs.items()}),
        warnings=[f"{name}: {line}" for name, run in runs.items() for line in warnings_of(run.workdir)],
        notes=[
            *([PUPPETS_NOTE] if puppets else []),
            *(f"{name} is not evaluated yet." for name in entries if name not in evaluated),
            *test_notes,
        ],
    )


def _results(entries: Mapping[str, Compared]) -> tuple[list[Result], dict[str, dict[str, Evaluated]]]:
    """(results in order; data set -> entry -> answers)."""
    results, answered, known = [], {}, {}
    for name, entry in entries.items():
        found = results_of(entry.workdir)
        names = shown_names([policy for policy, _, _ in found], statuses(entry.workdir))
        for role in ("train", "cross"):
            held = [
                (policy, result)
                for policy, at, result in found
                if at == role and (policy == entry.chosen if entry.chosen else policy in POLICIES)
            ]
            if not held:
                continue
            policy, result = held[-1]
            where = entry.workdir / "evaluate" / policy / role
            if "judged" not in result:
                raise InputError(f"{where / 'metrics.json'} does not say on which clips; remove it and evaluate again")
            clips, data = result["judged"]["clips"], data_name(entry.settings, role)
            if known.setdefault(data, clips) != clips:  # the same name, and yet other clips
                data = f"{data}, {result['clips']:,} other clips of {name}"
            shown = names[policy] if policy in POLICIES else "as scored"
            results.append(Result(f"{name}, {shown}", data, result))
            rows = read_predictions(where / "predictions.jsonl")
            answered.setdefault(data, {})[name] = Evaluated(result["judged"], rows)
    return results, answered


def _tests(answered: Answered, resamples: int) -> tuple[list[tuple[str, dict]], list[str]]:
    """((heading, paired test) pairs; notes on the pairs that cannot be tested)."""
    tests, notes = [], []
    for data, by_name in answered.items():
        for pair in combinations(by_name, 2):
            first, second = (by_name[name] for name in pair)
            if differences := first.differences(second):
                fields = ", ".join(differences)
                notes.append(f"No paired test of {pair[0]} and {pair[1]}, {data}: they differ in {fields}.")
            elif test := paired(first, second, resamples):
                tests.append((f"{pair[0]} - {pair[1]}, {data}: {len(first.rows):,} clips", test))
    return tests, notes


def _lead(results: Sequence[Result]) -> str:
    scored = [r for r in results if r.found.get("metrics") and r.data == results[0].data]
    parts = [
        f"{r.policy} {unread(r.found, polarity=True) or format(r.found['metrics']['Polarity_acc'], '.1%')}"
        for r in scored
    ]
    return f"Polarity accuracy {', '.join(parts)}."


def _differences(made_by: Mapping[str, list]) -> list:
    """What differs in how the runs were made: (caption, (field, the value of each run) pairs)."""
    flat = {
        name: {f"{caption}.{field}": value for caption, pairs in groups for field, value in pairs}
        for name, groups in made_by.items()
    }
    fields = dict.fromkeys(field for one in flat.values() for field in one)
    differing = [
        (field, "; ".join(f"{name}: {one.get(field, '-')}" for name, one in flat.items()))
        for field in fields
        if len({one.get(field) for one in flat.values()}) > 1
    ]
    return [("What differs between the runs", differing)]
