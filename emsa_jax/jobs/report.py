"""The end of a run: one short table, the page, and where to look next."""

from __future__ import annotations

import json
import sys

from rich import box
from rich.console import Console
from rich.table import Column, Table

from emsa_jax.data.datasets import PUPPETS_NOTE, datasets
from emsa_jax.json_file import finite_json
from emsa_jax.manifest import write_atomic, write_outputs
from emsa_jax.report.citations import NAME as CITATIONS
from emsa_jax.report.citations import citations
from emsa_jax.report.curve_files import curve_files
from emsa_jax.report.result_table import ResultTable, result_table, shown_names
from emsa_jax.report.run_files import ReportSettings, data_name, read_metrics, read_result, statuses, warnings_of
from emsa_jax.report.run_report import PAGE, write_page
from emsa_jax.runtime.console import say
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import policies

CURVES = "curves"


def report(run: Run, settings: ReportSettings) -> None:
    """Prints a table for each data set, leaves them as summary.json and summary.md, and writes report.html, the curves
    as files, and citations.bib."""
    names = shown_names(list(policies(run, settings)), statuses(run.workdir))
    results = {role: {name: read_result(run.workdir, name, role) for name in names} for role in datasets(settings)}
    results = {role: {n: r for n, r in found.items() if r} for role, found in results.items()}
    lines, notes = ["# Results"], [PUPPETS_NOTE] if settings.data.startswith("puppets") else []
    console = Console(width=None if sys.stdout.isatty() else 160)
    for role, found in results.items():
        table = result_table([(names[name], result) for name, result in found.items()])
        if not table.rows:
            continue
        lines += ["", f"## {data_name(settings, role)}", "", *_markdown(table)]
        console.print(_printed(table, data_name(settings, role)))
        notes = [*(note for note in table.notes if note not in notes), *notes]
    lines += [line for note in notes for line in ("", note)]
    if warnings := warnings_of(run.workdir):
        lines += ["", "## Warnings", "", *(f"- {line}" for line in warnings)]
    for note in notes:
        console.print(note, style="dim", markup=False, highlight=False)
    write_atomic(run.path("summary.md"), ("\n".join(lines) + "\n").encode())
    write_atomic(run.path("summary.json"), json.dumps(finite_json(results), indent=1, allow_nan=False).encode() + b"\n")
    write_page(run, settings)
    write_atomic(run.path(CITATIONS), citations(run.workdir).encode())
    write_curves(run)
    for what, path in (
        ("the whole run on one page:", PAGE),
        ("answers in full:", "evaluate/*/*/predictions.jsonl"),
        ("curves (pip install tensorboard): tensorboard --logdir", "tensorboard"),
        ("curves as PNG and csv:", CURVES),
        ("rollouts:", "grpo/completions"),
        ("exports:", "export"),
        ("this table:", "summary.md"),
        ("what to cite:", CITATIONS),
    ):
        if any(run.workdir.glob(path)):
            say(f"{what} {run.path(path)}")


def write_curves(run: Run) -> None:
    """curves/*.png and *.csv, where anything was learned."""
    if files := curve_files({run.workdir.name: read_metrics(run.workdir)}):
        write_outputs(run.path(CURVES), files)


def _markdown(table: ResultTable) -> list[str]:
    lines = ["| policy | " + " | ".join(table.columns) + " |", "|" + "---|" * (len(table.columns) + 1)]
    return lines + [f"| {row.name} | " + " | ".join(cell.text for cell in row.cells) + " |" for row in table.rows]


def _printed(table: ResultTable, title: str) -> Table:
    # rich would cut a title's longest word before it breaks the cells
    titles = (Column(title, min_width=max(map(len, title.split()))) for title in table.columns)
    head = (Column("policy", no_wrap=True), *titles)
    printed = Table(*head, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")
    for row in table.rows:
        printed.add_row(row.name, *(cell.text for cell in row.cells), style="dim" if row.quiet else None)
    return printed
