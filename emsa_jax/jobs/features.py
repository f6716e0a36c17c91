"""A network of the feature-based track: trained for all seeds, measured, and written as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from emsa_jax.errors import InputError
from emsa_jax.features.feature_options import FeatureOptions
from emsa_jax.features.recipes import SCALES
from emsa_jax.features.results import COLUMNS, write_seed
from emsa_jax.features.running import open_training
from emsa_jax.manifest import write_atomic
from emsa_jax.parallel import preemption
from emsa_jax.report.arm_table import Row, as_csv, as_latex, as_markdown, marked
from emsa_jax.runtime.console import progress, say
from emsa_jax.runtime.programs import keep_compiled
from emsa_jax.runtime.startup import listen


def features(options: FeatureOptions, workdir: Path) -> None:
    """Leaves SEED/predictions.jsonl, metrics.json, training.json and model.safetensors, and table.csv, .md and .tex of
    all seeds; of several networks or files in DATASET/NETWORK. The same command goes on where it was stopped."""
    listen()
    plan = planned(options)
    keep_compiled(workdir / "compilation_cache")
    rows: dict[str, list[Row]] = {}
    for one in plan:
        out = workdir / one.dataset if len(plan) > 1 else workdir
        row = train_network(one, out / one.network if len(plan) > 1 else out)
        rows.setdefault(one.dataset, []).append(row)
        write_table(out, one, rows[one.dataset])
        say(f"table: {out / 'table.md'}")


def planned(options: FeatureOptions) -> list[FeatureOptions]:
    """One network and one file each. Raises: InputError for a further file that is not named as DATASET=FILE."""
    files = {options.dataset: options.data}
    for further in options.more_data:
        dataset, equals, file = further.partition("=")
        if not equals or dataset not in SCALES or dataset in files:
            known = ", ".join(name for name in SCALES if name not in files)
            raise InputError(f"config.more_data: {further!r} is no DATASET=FILE with a DATASET of {known}")
        files[dataset] = file
    networks = options.networks or (options.network,)
    return [
        replace(options, network=network, networks=(), dataset=dataset, data=file, more_data=())
        for dataset, file in files.items()
        for network in networks
    ]


def train_network(options: FeatureOptions, workdir: Path) -> Row:
    """Trains and measures all seeds: a line of the table."""
    training = open_training(options)
    for note in training.notes:
        say(f"note: {note}")
    cells: dict[int, dict] = {}
    statuses: list[str] = []
    for seeds in training.groups:
        directory = workdir / "state" / "_".join(map(str, seeds))
        with preemption.deferred(), progress(training.recipe.protocol.max_epochs, options.network) as advance:
            trained = training.run(seeds, directory, lambda _, note, advance=advance: advance(note=note))
        for seed, one in trained.items():
            metrics, status = write_seed(workdir / str(seed), training, one, options)
            statuses.append(status)
            cells[seed] = {column: metrics.get(name) for column, name in COLUMNS.items()}
    title = marked(f"{options.network}, {options.preset}", statuses)
    return Row(options.network, title, cells, len(options.seeds))


def write_table(out: Path, options: FeatureOptions, rows: Sequence[Row]) -> None:
    """table.csv, table.md and table.tex: means over seeds with their deviation, and in the csv with their interval."""
    title = f"{Path(options.data).name}, settings of {options.dataset}"
    markdown = f"# {title}\n\n{as_markdown(rows, rows[0].name)}"
    for suffix, content in ((".csv", as_csv(rows)), (".md", markdown), (".tex", as_latex(rows, title))):
        write_atomic(out / f"table{suffix}", content.encode())
    say(markdown)
