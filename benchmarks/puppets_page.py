"""docs/puppets.md from the cells of an ablation: its tables, what they show and do not show, and how long it took.

    python benchmarks/puppets_page.py --workdir runs/bench [--out docs/puppets.md]

Only the part between the two marks is written anew.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from emsa_jax.evaluation.resampling import paired_seeds
from emsa_jax.experiments.arms import TABLES, Arm
from emsa_jax.experiments.cells import Cells
from emsa_jax.jobs.ablation import write_tables
from emsa_jax.jobs.stages import check_inputs, run_stages
from emsa_jax.manifest import write_atomic
from emsa_jax.settings.presets import ablation_options

BEGIN, END = "<!-- ablation tables: begin -->", "<!-- ablation tables: end -->"
HEAD = """# Puppets

Puppets are a test bench: no number here compares with one from a paper.

"""


def page(workdir: Path) -> str:
    """The part between the marks."""
    options = ablation_options("bench")
    write_tables(options, Cells(workdir, options.base, check_inputs=check_inputs, run_stages=run_stages))
    cells = [json.loads(path.read_text()) for path in sorted((workdir / "cells").glob("*.json"))]
    trained = [cell["seconds"]["arm"] for cell in cells if cell["values"].get("tokens")]
    used = [cell["seconds"]["cpu"] for cell in cells if cell["values"].get("tokens") and "cpu" in cell["seconds"]]
    starts = [cell["seconds"]["start"] for cell in cells if cell["seconds"]["start"] > 5]
    spent = sum(cell["seconds"]["start"] + cell["seconds"]["arm"] for cell in cells)
    wanted = {
        (arm.name, seed)
        for name in options.tables
        for arm in TABLES[name].arms
        for seed in range(options.seeds_of(arm))
    }
    made = {(cell["arm"], cell["seed"]) for cell in cells}
    lines = [
        "`python -m emsa_jax.main --config=configs/ablation.py:bench --workdir=runs/bench`, then "
        "`python benchmarks/puppets_page.py --workdir runs/bench`. How they are made and read: "
        "[evaluation.md](evaluation.md).",
        "",
        f"{len(made & wanted)} of {len(wanted)} cells are made"
        + (
            f"; {len(wanted - made)} are missing, which the column of seeds tells for each arm."
            if wanted - made
            else "."
        )
        + (
            f" An arm with GRPO took {statistics.median(trained):.0f} s in the median and {max(trained):.0f} s at "
            f"most, {sum(seconds <= 60 for seconds in trained)} of {len(trained)} at most 60 s, training and "
            "evaluation, compilation of what was new included"
            if trained
            else ""
        )
        + (f" ({statistics.median(used):.0f} s of one core in the median)" if used else "")
        + (f"; a cold start {statistics.median(starts):.0f} s" if starts else "")
        + f". All of them together: {spent / 60:.0f} minutes.",
    ]
    absent = sorted({arm for arm, _ in wanted} - {arm for arm, _ in made})
    lines += ["", f"Nothing yet of: {', '.join(absent)}."] if absent else []
    hard = [cell["values"]["hard_clips"] for cell in cells if cell["arm"] == "cold"]
    if hard:
        lines += ["", f"Clips of the hard set, of 256, by seed: {', '.join(f'{n:.0f}' for n in hard)}."]
    for name, table in TABLES.items():
        source = workdir / "tables" / f"{name}.md"
        begun = any((arm.name, seed) in made for arm in table.arms for seed in range(options.hint_seeds))
        if source.exists() and begun:
            lines += ["", f"### {table.question}", "", *_body(source), "", *_undecided(workdir, name)]
            if name == "hints":
                lines += ["", *_against(cells, "off", table.arms)]
    return "\n".join(lines) + "\n"


def _against(cells: list[dict], other: str, arms: Sequence[Arm]) -> list[str]:
    """Accuracy on the hard set, and on all, against another arm than the table's baseline."""
    values = {(cell["arm"], cell["seed"]): cell["values"] for cell in cells}
    told, found = {arm.name: arm.title for arm in arms}, []
    for arm in arms:
        seeds = [seed for name, seed in values if name == arm.name and (other, seed) in values]
        if arm.name == other or len(seeds) < 2:
            continue
        parts = []
        for key in ("hard_accuracy", "accuracy"):
            one = paired_seeds(*([values[name, seed][key] for seed in seeds] for name in (arm.name, other)))
            mean, low, high = (100 * number for number in (one["mean"], *one["interval"]))
            parts.append(f"{mean:+.1f} ({low:.1f} to {high:.1f})")
        found.append(f"{arm.title} {parts[0]}, in all {parts[1]}")
    return [f'Against "{told[other]}", points on the hard set with 95% intervals: {"; ".join(found)}.'] if found else []


def _body(source: Path) -> list[str]:
    """The tables of a file, without its title and the sentence on puppets."""
    lines = source.read_text().splitlines()[1:]
    return [line for line in lines if not line.startswith("Puppets are")][1:-2]


def _undecided(workdir: Path, name: str) -> list[str]:
    """What the seeds so far do not show, and how many would."""
    told = {arm.name: arm.title for arm in TABLES[name].arms}
    with open(workdir / "tables" / f"{name}_differences.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "hard_accuracy" and row["low"]]
    found = [row for row in rows if float(row["low"]) <= 0 <= float(row["high"])]
    sentences = [
        f"{told[row['arm']]} ({100 * float(row['difference']):+.1f} points; "
        + (f"{row['seeds_needed']} seeds" if row["seeds_needed"] else "no number of seeds below 10,000")
        + ")"
        for row in found
    ]
    if not sentences:
        return []
    return [
        "Not told apart from the baseline on the hard set, with the seeds that would show a difference of this "
        f"size in four of five tries: {'; '.join(sentences)}."
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/bench"))
    parser.add_argument("--out", type=Path, default=Path("docs/puppets.md"))
    args = parser.parse_args()
    text = args.out.read_text() if args.out.exists() else f"{HEAD}{BEGIN}\n{END}\n"
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, rest = text.split(BEGIN)
    write_atomic(args.out, f"{before}{BEGIN}\n{page(args.workdir)}{END}{rest.split(END)[1]}".encode())


if __name__ == "__main__":
    main()
