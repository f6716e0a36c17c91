"""The ablation tables of the papers, cell by cell: trained, judged, and written as csv, Markdown and LaTeX."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from emsa_jax.errors import InputError
from emsa_jax.experiments.arms import MANY, TABLES, Arm
from emsa_jax.experiments.cells import Cells
from emsa_jax.jobs.stages import check_inputs
from emsa_jax.learning.optimizer import OptimizerOptions
from emsa_jax.manifest import write_atomic
from emsa_jax.report.arm_table import Row, as_csv, as_latex, as_markdown, differences_csv
from emsa_jax.runtime.console import say
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.settings.config import Config, Puppets
from emsa_jax.settings.presets import embedded, preset_of
from emsa_jax.training.artifacts import PUPPETS

PUPPETS_SAID = "Puppets are a test bench: no number here compares with one from a paper."


@dataclass(frozen=True)
class AblationOptions:
    """tables: names of `jobs.arms.TABLES`, made in this order. base: what all arms share. seeds: of each arm;
    hint_seeds: of the hint arms, the first ones the same. minutes: no cell is begun later than this (0: no limit); the
    same command goes on. cross_traces: a teacher's traces of the second domain, for cross_domain (default: beside it).
    """

    job: Literal["ablation"] = "ablation"
    tables: tuple[str, ...] = ("hint",)
    seeds: int = 3
    hint_seeds: int = 8
    minutes: float = 0.0
    cross_traces: str = ""
    base: Config = Config()

    def __post_init__(self) -> None:
        for name in self.tables:
            if name not in TABLES:
                raise InputError(f"tables: {name!r} is none of {', '.join(TABLES)}")
        if self.seeds < 1 or self.hint_seeds < 1 or self.minutes < 0:
            raise InputError("seeds and hint_seeds must be at least 1, minutes at least 0")

    def seeds_of(self, arm: Arm) -> int:
        """How many seeds an arm is to have."""
        return max(self.seeds, self.hint_seeds) if arm.name in MANY else self.seeds


def bench() -> Config:
    """Puppets and steps as few as still let a policy learn."""
    config = embedded()
    return replace(
        config, puppets=Puppets(num_train=512, num_valid=64, num_test=256, trace_share=0.25),
        evaluate=replace(config.evaluate, samples=0),
        sft=replace(config.sft, epochs=0.0, max_steps=96, eval_every=32, eval_clips=64, save_every=96),
        grpo=replace(config.grpo, group_size=4, prompts_per_step=16, max_steps=40, save_every=40, samples=1,
                     optimizer=OptimizerOptions(2e-3, warmup_steps=5, schedule="constant", b2=0.95)))  # fmt: skip


def ablation(options: AblationOptions, workdir: Path) -> None:
    """Makes what is missing of the tables and writes them anew after each cell; what is done is kept."""
    check_inputs(replace(options.base, stages=("prepare", "sft", "grpo", "evaluate")))
    keep_compiled(workdir / "compilation_cache")
    cells, begun = Cells(workdir, options.base, options.cross_traces), time.monotonic()
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
            found = {seed: cell["values"] for seed in range(wanted) if (cell := cells.done(arm, seed))}
            rows.append(Row(arm.name, arm.told, found, wanted))
        notes = [PUPPETS_SAID] if options.base.data in PUPPETS else []
        text = "\n\n".join([f"# {table.told}", as_markdown(rows, table.baseline), *notes])
        for suffix, content in (
            (".csv", as_csv(rows)),
            (".md", text + "\n"),
            (".tex", as_latex(rows, table.told)),
            ("_differences.csv", differences_csv(rows, table.baseline)),
        ):
            write_atomic(out / f"{name}{suffix}", content.encode())


def options_for(preset: str) -> AblationOptions:
    """hint, hints, cross_domain, format, modality: that table on the embedded default, or as "hint@msa_thinker" on
    another preset of configs/grpo.py. bench: all of them, small."""
    if preset == "bench":
        return AblationOptions(tables=tuple(TABLES), base=bench())
    table, _, base = preset.partition("@")
    if table not in TABLES:
        raise InputError(f"configs/ablation.py: name a table, one of {', '.join(TABLES)}, or bench, not {preset!r}")
    return AblationOptions(tables=(table,), base=preset_of(base, "configs/ablation.py"))
