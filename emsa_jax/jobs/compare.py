"""Two or more runs on one page: their results, curves and answers side by side, with paired tests."""
from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np

from emsa_jax.config import from_config_dict
from emsa_jax.errors import InputError
from emsa_jax.evaluation.metrics import family_of, regression_metrics
from emsa_jax.evaluation.resampling import compare as paired_test
from emsa_jax.jobs.artifacts import PUPPETS, datasets, labels_of
from emsa_jax.jobs.console import say
from emsa_jax.jobs.evaluate import read_rows
from emsa_jax.jobs.options import Config
from emsa_jax.jobs.run_report import (
    POLICIES,
    PUPPETS_SAID,
    hints_ignored,
    made,
    place,
    read_json,
    read_metrics,
    results_of,
)
from emsa_jax.manifest import write_atomic
from emsa_jax.report.cases import make_cases, numbered
from emsa_jax.report.run_content import Content, Result
from emsa_jax.report.run_page import run_page


@dataclass(frozen=True)
class CompareOptions:
    """runs: workdirs, or RUN/evaluate/NAME for one policy or one scored csv of a run; the baseline first. out: the
    page to write. resamples: of the paired tests (0: none)."""

    job: Literal["compare"] = "compare"
    runs: tuple[str, ...] = ()
    out: str = "compare.html"
    resamples: int = 500

    def __post_init__(self) -> None:
        if self.resamples < 0:
            raise InputError(f"resamples must be at least 0, not {self.resamples}")


def compare(options: CompareOptions) -> None:
    """Writes the page. A run stands for its last policy."""
    if len(options.runs) < 2:
        raise InputError("config.runs: name at least two workdirs, such as \"('runs/off','runs/hint')\"")
    opened = {name: _open(Path(run)) for name, run in _names(options.runs).items()}
    runs = {name: (workdir, config) for name, (workdir, config, chosen) in opened.items() if not chosen}
    results, answered = [], {}
    for name, (workdir, config, chosen) in opened.items():
        for role in datasets(config):
            held = [(policy, result) for policy, at, result in results_of(workdir, config) if at == role]
            own = [(policy, result) for policy, result in held
                   if (policy == chosen if chosen else policy in POLICIES)]
            if own:
                policy, result = own[-1]
                told = POLICIES.get(policy, "as scored")
                results.append(Result(f"{name}, {told}", place(config, role), result))
                rows = read_rows(workdir / "evaluate" / policy / role / "predictions.jsonl")
                answered.setdefault((role, place(config, role)), {})[name] = rows
    if not results:
        raise InputError("config.runs: none of them is evaluated yet")
    cases, paired = [], []
    for (role, data), by_run in answered.items():
        if len(by_run) > 1:
            names = list(by_run)
            cases += make_cases(data, by_run, names[0], names[-1])
            config = next(iter(opened.values()))[1]
            paired += [test for pair in combinations(names, 2) if options.resamples
                       for test in _paired(data, config, role, pair, by_run, options.resamples)]
    content = Content(
        title="Runs compared: " + ", ".join(opened), lead=_lead(results), results=results,
        rows={name: read_metrics(workdir) for name, (workdir, _) in runs.items()}, cases=numbered(cases, {}),
        paired=paired, hints={name: hints_ignored(workdir, config) for name, (workdir, config) in runs.items()},
        made=_differences({name: made(workdir) for name, (workdir, _) in runs.items()}),
        notes=[PUPPETS_SAID] if any(config.data in PUPPETS for _, config, _ in opened.values()) else [])
    out = Path(options.out).expanduser()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, run_page(content))
    say(f"the page: {out}")


def _names(runs: tuple[str, ...]) -> dict[str, str]:
    """Name -> workdir: the last part of its path, or all of it where two are called the same."""
    short = [Path(run).name for run in runs]
    return {name if short.count(name) == 1 else run: run for name, run in zip(short, runs, strict=True)}


def _open(named: Path) -> tuple[Path, Config, str]:
    """(workdir, its config, the policy or scored csv that was chosen; "" for the last policy)."""
    workdir, chosen = (named.parents[1], named.name) if named.parent.name == "evaluate" else (named, "")
    found = read_json(workdir / "config.json")
    if found is None:
        raise InputError(f"config.runs: {workdir} is no workdir of a run" + (
            "; score a csv with --workdir of the run that it is compared with" if chosen else ""))
    if chosen and not any(named.glob("*/metrics.json")):
        raise InputError(f"config.runs: {named} holds no metrics.json; evaluate or score it first")
    return workdir, from_config_dict(Config, found), chosen


def _paired(data: str, config: Config, role: str, pair: tuple[str, str], by_run: dict[str, list[dict]], resamples: int):
    first, second = ({row["id"]: row for row in by_run[name] if row.get("target") is not None} for name in pair)
    ids = [id for id in first if id in second and first[id]["target"] == second[id]["target"]]
    if not ids or not all("score" in row[ids[0]] for row in (first, second)):  # classes have none
        return
    dataset = datasets(config)[role]
    family = family_of(labels_of(dataset)[0])
    true = np.array([first[id]["target"] for id in ids], np.float32)

    def measure(pred, truth):
        return regression_metrics([p[0] for p in pred], truth, family, polarities=[p[1] for p in pred])

    answers = [[(row[id]["score"], row[id]["polarity"]) for id in ids] for row in (first, second)]
    yield f"{pair[0]} - {pair[1]}, {data}: {len(ids):,} clips", paired_test(measure, *answers, true, resamples)


def _lead(results: list[Result]) -> str:
    scored = [r for r in results if r.found.get("metrics") and r.data == results[0].data]
    told = [f"{r.policy} {r.found['metrics']['Polarity_acc']:.1%}" for r in scored]
    return f"Polarity accuracy {', '.join(told)}."


def _differences(made_by: dict[str, list]) -> list:
    """What was not asked alike: (caption, (field, what each run has) pairs)."""
    flat = {name: {f"{caption}.{field}": value for caption, pairs in groups for field, value in pairs}
            for name, groups in made_by.items()}
    fields = dict.fromkeys(field for one in flat.values() for field in one)
    shown = [(field, "; ".join(f"{name}: {one.get(field, '-')}" for name, one in flat.items())) for field in fields
             if len({one.get(field) for one in flat.values()}) > 1]
    return [("What differs between the runs", shown)]
