"""The ablation tables of the papers, cell by cell: trained, evaluated, and written as csv, Markdown and LaTeX."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from emsa_jax.data.datasets import PUPPETS
from emsa_jax.experiments.arms import TABLES
from emsa_jax.experiments.cells import Cells
from emsa_jax.jobs.stages import check_inputs, run_stages
from emsa_jax.manifest import write_atomic
from emsa_jax.report.arm_table import Row, as_csv, as_latex, as_markdown, differences_csv, marked
from emsa_jax.runtime.console import say
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.settings.job_options import AblationOptions

PUPPETS_SAID = "Puppets are a test bench: no number here compares with one from a paper."


def ablation(options: AblationOptions, workdir: Path) -> None:
    """Makes what is missing of the tables and writes them anew after each cell; what is done is kept."""
    check_inputs(replace(options.base, stages=("prepare", "sft", "grpo", "evaluate")))
    keep_compiled(workdir / "compilation_cache")
    begun = time.monotonic()
    cells = Cells(workdir, options.base, options.cross_traces, check_inputs=check_inputs, run_stages=run_stages)
    plan = [
        (arm, seed)
        for name in options.tables
        for seed in range(max(options.seeds, options.hint_seeds))
        for arm in TABLES[name].arms
        if seed < options.seeds_of(arm)
    ]
    arms = {arm.name: arm for arm, _ in plan}
    missing = [
        (name, seed)
        for name, seed in dict.fromkeys((arm.name, seed) for arm, seed in plan)
        if not cells.done(arms[name], seed)
    ]
    say(f"ablation: {len(missing)} cells to make")
    for number, (name, seed) in enumerate(missing, 1):
        if options.minutes and time.monotonic() - begun > 60 * options.minutes:
            say(
                f"ablation: {options.minutes:g} minutes are over, {len(missing) - number + 1} cells are left; the same "
                "command goes on"
            )
            break
        cell = cells.make(arms[name], seed)
        say(
            f"cell {number} of {len(missing)}: {name}, seed {seed}: accuracy {cell['values']['accuracy']:.3f}, "
            f"{cell['seconds']['arm']:.0f} s"
        )
        write_tables(options, cells)
    write_tables(options, cells)
    say(f"tables: {workdir / 'tables'}")


def write_tables(options: AblationOptions, cells: Cells) -> None:
    """tables/<name>.{csv,md,tex} and <name>_differences.csv, of the cells that there are."""
    out = cells.root / "tables"
    out.mkdir(parents=True, exist_ok=True)
    for name in options.tables:
        table, rows = TABLES[name], []
        for arm in table.arms:
            wanted = options.seeds_of(arm)
            done = {seed: cell for seed in range(wanted) if (cell := cells.done(arm, seed))}
            found = {seed: cell["values"] for seed, cell in done.items()}
            title = marked(arm.title, [cell.get("status", "") for cell in done.values()])
            rows.append(Row(arm.name, title, found, wanted))
        notes = [PUPPETS_SAID] if options.base.data in PUPPETS else []
        text = "\n\n".join([f"# {table.question}", as_markdown(rows, table.baseline), *notes])
        for suffix, content in (
            (".csv", as_csv(rows)),
            (".md", text + "\n"),
            (".tex", as_latex(rows, table.question)),
            ("_differences.csv", differences_csv(rows, table.baseline)),
        ):
            write_atomic(out / f"{name}{suffix}", content.encode())
