"""Two or more runs on one page: their results, curves and answers side by side, with paired tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from emsa_jax.errors import InputError
from emsa_jax.evaluation.paired import Judged, paired
from emsa_jax.jobs.evaluate import read_rows
from emsa_jax.manifest import write_outputs
from emsa_jax.report.cases import make_cases, numbered
from emsa_jax.report.run_content import Content, Result
from emsa_jax.report.run_page import run_page
from emsa_jax.report.run_report import (
    POLICIES,
    PUPPETS_SAID,
    hints_ignored,
    made,
    place,
    read_json,
    read_metrics,
    results_of,
)
from emsa_jax.runtime.console import say
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import CompareOptions
from emsa_jax.settings.old_fields import read_config
from emsa_jax.training.artifacts import PUPPETS


@dataclass(frozen=True)
class _Entry:
    """One of what is compared: a run, of which its last policy, or one policy or scored csv of it (`chosen`)."""

    workdir: Path
    config: Config
    chosen: str


def compare(options: CompareOptions) -> None:
    """Writes the page. A run stands for its last policy. Runs that were asked about other clips stand apart, and no
    test pairs what was not judged alike."""
    if len(options.runs) < 2:
        raise InputError("config.runs: name at least two workdirs, such as \"('runs/off','runs/hint')\"")
    entries = {name: _open(Path(run)) for name, run in _names(options.runs).items()}
    runs = {name: entry for name, entry in entries.items() if not entry.chosen}
    results, answered = _results(entries)
    if not results:
        raise InputError("config.runs: none of them is evaluated yet")
    cases, tests = [], []
    notes = [PUPPETS_SAID] if any(entry.config.data in PUPPETS for entry in entries.values()) else []
    evaluated = {name for found in answered.values() for name in found}
    notes += [f"{name} is not evaluated yet." for name in entries if name not in evaluated]
    for data, by_name in answered.items():
        if len(by_name) > 1:
            names = list(by_name)
            cases += make_cases(data, {name: one.rows for name, one in by_name.items()}, names[0], names[-1])
        for pair in combinations(by_name, 2) if options.resamples else ():
            first, second = (by_name[name] for name in pair)
            if apart := first.apart(second):
                notes.append(f"No paired test of {pair[0]} and {pair[1]}, {data}: they differ in {', '.join(apart)}.")
            elif test := paired(first, second, options.resamples):
                tests.append((f"{pair[0]} - {pair[1]}, {data}: {len(first.rows):,} clips", test))
    content = Content(
        title="Runs compared: " + ", ".join(entries),
        lead=_lead(results),
        results=results,
        rows={name: read_metrics(run.workdir) for name, run in runs.items()},
        cases=numbered(cases, {}),
        paired=tests,
        hints={name: hints_ignored(run.workdir, run.config) for name, run in runs.items()},
        made=_differences({name: made(run.workdir) for name, run in runs.items()}),
        notes=notes,
    )
    out = Path(options.out).expanduser()
    if not out.name:
        raise InputError("config.out: name the page to write, such as compare.html")
    write_outputs(out.parent, {out.name: run_page(content)})
    say(f"the page: {out}")


def _results(entries: Mapping[str, _Entry]) -> tuple[list[Result], dict[str, dict[str, Judged]]]:
    """(results in order; data set -> entry -> answers). Data sets of one name and other clips or labels are others."""
    results, answered, known = [], {}, {}
    for name, entry in entries.items():
        for role in ("train", "cross"):
            held = [
                (policy, result)
                for policy, at, result in results_of(entry.workdir, entry.config)
                if at == role and (policy == entry.chosen if entry.chosen else policy in POLICIES)
            ]
            if not held:
                continue
            policy, result = held[-1]
            where = entry.workdir / "evaluate" / policy / role
            if "judged" not in result:
                raise InputError(f"{where / 'metrics.json'} does not say on which clips; remove it and evaluate again")
            clips, data = result["judged"]["clips"], place(entry.config, role)
            if known.setdefault(data, clips) != clips:  # of the same name, and yet another
                data = f"{data}, {result['clips']:,} other clips of {name}"
            results.append(Result(f"{name}, {POLICIES.get(policy, 'as scored')}", data, result))
            answered.setdefault(data, {})[name] = Judged(result["judged"], read_rows(where / "predictions.jsonl"))
    return results, answered


def _names(runs: tuple[str, ...]) -> dict[str, str]:
    """Name -> workdir: the last part of its path, or all of it where two are called the same."""
    if twice := next((run for run in runs if runs.count(run) > 1), None):
        raise InputError(f"config.runs: {twice} is named twice")
    short = [Path(run).name for run in runs]
    return {name if short.count(name) == 1 else run: run for name, run in zip(short, runs, strict=True)}


def _open(named: Path) -> _Entry:
    workdir, chosen = (named.parents[1], named.name) if named.parent.name == "evaluate" else (named, "")
    found = read_json(workdir / "config.json")
    if found is None:
        raise InputError(
            f"config.runs: {workdir} is no workdir of a run"
            + ("; score a csv with --workdir of the run that it is compared with" if chosen else "")
        )
    if chosen and not any(named.glob("*/metrics.json")):
        raise InputError(f"config.runs: {named} holds no metrics.json; evaluate or score it first")
    return _Entry(workdir, read_config(found), chosen)


def _lead(results: list[Result]) -> str:
    scored = [r for r in results if r.found.get("metrics") and r.data == results[0].data]
    told = [f"{r.policy} {r.found['metrics']['Polarity_acc']:.1%}" for r in scored]
    return f"Polarity accuracy {', '.join(told)}."


def _differences(made_by: dict[str, list]) -> list:
    """What was not asked alike: (caption, (field, what each run has) pairs)."""
    flat = {
        name: {f"{caption}.{field}": value for caption, pairs in groups for field, value in pairs}
        for name, groups in made_by.items()
    }
    fields = dict.fromkeys(field for one in flat.values() for field in one)
    shown = [
        (field, "; ".join(f"{name}: {one.get(field, '-')}" for name, one in flat.items()))
        for field in fields
        if len({one.get(field) for one in flat.values()}) > 1
    ]
    return [("What differs between the runs", shown)]
