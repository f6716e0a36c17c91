"""The end of a run: one short table, the page, and where to look next."""

from __future__ import annotations

import json
import sys

from rich import box
from rich.console import Console
from rich.table import Column, Table

from emsa_jax.answers.answer_format import Columns
from emsa_jax.answers.formats import format_class
from emsa_jax.data.datasets import PUPPETS_NOTE, datasets
from emsa_jax.manifest import write_atomic
from emsa_jax.report.run_files import ReportSettings
from emsa_jax.report.run_report import PAGE, write_page
from emsa_jax.report.run_results import CONTROLS
from emsa_jax.runtime.console import say
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import policies

STAGES = {"zero_shot": "zero-shot", "align": "aligned", "sft": "after SFT", "grpo": "after RL"}
# of every answer format; each format has more
REWARDS = {"reward (sampled)": ("mean_sampled_reward",), "reward (greedy)": ("rewards", "total")}


def report(run: Run, settings: ReportSettings) -> None:
    """Prints the table, leaves it as summary.json and summary.md, and writes report.html."""
    results = {role: {name: _read(run, name, role) for name in policies(run, settings)} for role in datasets(settings)}
    results = {role: {n: r for n, r in found.items() if r} for role, found in results.items()}
    columns: Columns = {**REWARDS, **format_class(settings.format).columns}
    lines = ["# Results", "", "| policy | data | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 2)]
    table = Table(Column("policy", no_wrap=True), "data", *columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for role, found in results.items():
        domain = "in domain" if role == "train" else "across"
        rows = [(STAGES[name] if len(found) > 1 else "as given", result, None) for name, result in found.items()]
        rows += [(name, {"metrics": metrics}, "dim") for name, metrics in _floors(found)]
        for name, result, style in rows:
            cells = [_cell(value) for value in _values(result, columns)]
            table.add_row(name, domain, *cells, style=style)
            lines.append("| " + " | ".join([name, domain, *cells]) + " |")
    if settings.data.startswith("puppets"):
        lines += ["", PUPPETS_NOTE]
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    write_atomic(run.path("summary.md"), ("\n".join(lines) + "\n").encode())
    write_atomic(run.path("summary.json"), json.dumps(results, indent=1).encode() + b"\n")
    write_page(run, settings)
    for what, path in (
        ("the whole run on one page:", PAGE),
        ("answers in full:", "evaluate/*/*/predictions.jsonl"),
        ("curves (pip install tensorboard): tensorboard --logdir", "tensorboard"),
        ("rollouts:", "grpo/completions"),
        ("exports:", "export"),
        ("this table:", "summary.md"),
    ):
        if any(run.workdir.glob(path)):
            say(f"{what} {run.path(path)}")


def _floors(found: dict[str, dict]) -> list[tuple[str, dict]]:
    """(name, metrics) of predictors that have seen no clip."""
    last = list(reversed(found.values()))
    controls = next((result["controls"] for result in last if result.get("controls")), {})
    if not controls:
        return [("commonest class", result["floor"]) for result in last[:1] if result["floor"]]
    return [(name, controls[control]) for control, name in CONTROLS.items() if control in controls]


def _read(run: Run, name: str, role: str) -> dict | None:
    path = run.path("evaluate", name, role, "metrics.json")
    return json.loads(path.read_text()) if path.exists() else None


def _values(result: dict, columns: Columns) -> list[float | None]:
    """The number of each column, None where the result has none."""
    values = []
    for path in columns.values():
        value = result
        for name in path:
            value = (value or {}).get(name)
        values.append(value)
    return values


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
