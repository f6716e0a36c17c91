"""The CH-CEMS benchmark: predictions of several seeds -> the paper's tables and figures, its lines beside ours."""

from __future__ import annotations

from pathlib import Path

from emsa_jax.errors import InputError
from emsa_jax.experiments.ch_cems_predictions import other_clips, read_runs
from emsa_jax.experiments.ch_cems_tables import benchmark_tables
from emsa_jax.manifest import write_outputs
from emsa_jax.report.benchmark_files import benchmark_files
from emsa_jax.runtime.console import say
from emsa_jax.settings.job_options import BenchmarkOptions

PUPPETS_NOTE = "Puppets are a test bench: no number here compares with one from a paper, and none stands beside it."


def benchmark(options: BenchmarkOptions) -> None:
    """Writes `options.out`. Of puppets, the paper's lines are left out."""
    if not options.runs or not options.out:
        raise InputError('config.runs and config.out: name predictions as "MODEL=PATH", and a directory to write')
    found = read_runs(options.runs)
    tables = benchmark_tables(found.seeds, found.puppets)
    notes = [PUPPETS_NOTE] if found.puppets else other_clips(found.seeds)
    out = Path(options.out)
    write_outputs(out, benchmark_files(tables, found.seeds, notes, found.puppets))
    for note in notes:
        say(f"note: {note}")
    say(f"tables: {out / 'tables.md'}")
