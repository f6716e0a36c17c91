"""Two or more runs on one page: their results, curves and answers side by side, with paired tests."""

from __future__ import annotations

from pathlib import Path

from emsa_jax.config.edge import pick
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_saved_json
from emsa_jax.manifest import write_outputs
from emsa_jax.report.compare_files import compare_files
from emsa_jax.report.compare_report import Compared, compare_content
from emsa_jax.report.curve_files import curve_files
from emsa_jax.report.run_files import ReportSettings
from emsa_jax.report.run_page import run_page
from emsa_jax.runtime.console import say
from emsa_jax.settings.job_options import CompareOptions
from emsa_jax.settings.old_fields import read_config


def compare(options: CompareOptions) -> None:
    """Writes the page, its tables as Markdown, csv and LaTeX, and its curves as PNG and csv in a directory beside it.
    A run stands for its last policy."""
    if len(options.runs) < 2:
        named = f", not {', '.join(options.runs)} alone" if options.runs else ""
        raise InputError(f"config.runs: name at least two workdirs, such as \"('runs/off','runs/hint')\"{named}")
    entries = {name: _open(Path(run)) for name, run in _names(options.runs).items()}
    content = compare_content(entries, options.resamples)
    out = Path(options.out).expanduser()
    if not out.name:
        raise InputError("config.out: name the page to write, such as compare.html")
    if out.suffix in (".md", ".csv", ".tex"):
        raise InputError(
            f"config.out: name the page, such as {out.stem}.html; its {out.suffix[1:]} is written beside it"
        )
    write_outputs(out.parent, {out.name: run_page(content), **compare_files(content, out.stem)})
    say(f"the page: {out}, its tables: {out.stem}.md, {out.stem}.csv, {out.stem}.tex beside it")
    if files := curve_files(content.rows):
        write_outputs(out.with_name(f"{out.stem}_curves"), files)
        say(f"curves as PNG and csv: {out.with_name(f'{out.stem}_curves')}")


def _names(runs: tuple[str, ...]) -> dict[str, str]:
    """Name -> workdir: the last part of its path, or all of it where two are called the same."""
    if twice := next((run for run in runs if runs.count(run) > 1), None):
        raise InputError(f"config.runs: {twice} is named twice")
    short = [Path(run).name for run in runs]
    return {name if short.count(name) == 1 else run: run for name, run in zip(short, runs, strict=True)}


def _open(named: Path) -> Compared:
    """A workdir, or RUN/evaluate/NAME for one policy or one scored csv of a run."""
    workdir, chosen = (named.parents[1], named.name) if named.parent.name == "evaluate" else (named, "")
    found = read_saved_json(workdir / "config.json", kind={str: object})
    if found is None:
        raise InputError(
            f"config.runs: {workdir} is no workdir of a run"
            + ("; score a csv with --workdir of the run that it is compared with" if chosen else "")
        )
    if chosen and not any(named.glob("*/metrics.json")):
        raise InputError(f"config.runs: {named} holds no metrics.json; evaluate or score it first")
    settings = pick(ReportSettings, read_config(found))
    return Compared(workdir=workdir, settings=settings, chosen=chosen)
