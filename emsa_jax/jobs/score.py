"""Scores of predictions that came from elsewhere, measured as the policies of a run are."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emsa_jax.config.edge import pick
from emsa_jax.data.datasets import PUPPETS, clips_of, is_prepared
from emsa_jax.data.facts import FACTS
from emsa_jax.data.records import Entry, read_manifest
from emsa_jax.errors import InputError
from emsa_jax.evaluation.external import entry_of, read_given, score_given
from emsa_jax.evaluation.paired import conditions_of
from emsa_jax.evaluation.result_files import write_result
from emsa_jax.json_file import finite_json, read_saved_json
from emsa_jax.report.run_files import POLICIES, ReportSettings
from emsa_jax.report.run_report import write_page
from emsa_jax.runtime.console import say
from emsa_jax.runtime.run import Run, open_run
from emsa_jax.settings.config import Config
from emsa_jax.settings.old_fields import read_config, upgrade_for

RESERVED = (*POLICIES, "answers")


def score_predictions(config: Config, workdir: Path) -> None:
    """Holds the csv `config.predictions` against a split of `config.data`, records or raw. Leaves evaluate/<name of the
    file>/<which of the run's data sets it is, else train>, a row in the report of the run in that workdir, and prints
    the metrics as JSON on the last line."""
    path, options = Path(config.predictions), config.evaluate
    if path.stem in RESERVED:
        raise InputError(f"config.predictions: {path.name} is named like a policy of the run; rename the file")
    if path.stem.strip(".") == "":
        raise InputError(f"config.predictions: {path.name} has no name that a directory could have; rename the file")
    if not config.data or config.data in PUPPETS:
        raise InputError("config.data: name the data that was predicted: records, or a data set's directory")
    given = read_given(path)
    clips, score_range = _clips(config)
    entries = [clip for clip in clips if clip.split == options.split]
    entries = entries[: options.max_clips] if options.max_clips else entries
    if not entries:
        raise InputError(f"{config.data}: no clip of mode {options.split}; choose another as config.evaluate.split")
    known = {clip.id for clip in clips}
    for id, (where, _) in given.cells.items():
        if id not in known:
            raise InputError(f"{where}: {config.data} has no clip {id!r}")
    ids = {entry.id for entry in entries}
    absent, other = sum(id not in given.cells for id in ids), sum(id not in ids for id in given.cells)
    say(
        f"{path.name}: {len(entries)} clips of {options.split}, {absent} without a row count as unparsed, {other} rows "
        "of other clips are left out"
    )
    if absent == len(entries):
        raise InputError(
            f"{path}: none of its ids is a clip of mode {options.split}; name theirs as config.evaluate.split"
        )
    train = [clip.score for clip in clips if clip.split == "train" and clip.score is not None]
    name = config.dataset or (read_manifest(config.data).dataset if is_prepared(Path(config.data)) else "")
    classes = FACTS[name].classes if name in FACTS else ()
    result, rows = score_given(
        given,
        entries,
        score_range=score_range,
        classes=classes,
        fallback=options.fallback,
        neutral_eps=config.labels.neutral_eps,
        train_scores=train,
        resamples=options.resamples,
    )
    result["judged"] = conditions_of(rows, score_range, config.labels.neutral_eps, options.fallback)
    with _opened(workdir) as run:
        out = workdir / "evaluate" / path.stem / _role(workdir, result["judged"]["clips"], config)
        try:
            write_result(out, result | {"predictions": path.name}, rows)
        except OSError as error:
            raise InputError(f"--workdir: {error.filename or out} cannot be written: {error.strerror}") from error
        say(f"written to {out}")
        if run is not None:
            settings = pick(ReportSettings, read_config(run.config))
            say(f"the run's page has their row now: {write_page(run, settings)}")
    print(json.dumps(finite_json(result), allow_nan=False), flush=True)


@contextlib.contextmanager
def _opened(workdir: Path) -> Iterator[Run | None]:
    """The run of that workdir, whose page is to show the predictions; None where there is none."""
    found = read_saved_json(workdir / "config.json", kind={str: object})
    if found is None:
        say(f"{workdir} is no run; in the --workdir of one they get a row in its page and can be compared with it")
        yield None
    else:
        with open_run(workdir, read_config(found), upgrade_for(trains=False)) as run:
            yield run


def _role(workdir: Path, clips: str, config: Config) -> str:
    """On which of a run's data sets the predictions are: of the same clips and labels. Raises InputError for others."""
    known = {}
    for path in sorted(workdir.glob("evaluate/*/*/metrics.json")):
        if path.parent.parent.name in POLICIES and (conditions := _judged(path)):
            known[conditions["clips"]] = path.parent.name
    if known and clips not in known:
        raise InputError(
            f"--workdir: the run in {workdir} was evaluated on other clips, or other labels, than the "
            f"{config.evaluate.split} split of {config.data}; name another workdir, or those clips"
        )
    return known.get(clips, "train")


def _judged(path: Path) -> dict[str, Any]:
    """On what a metrics.json was measured; {} where it does not say."""
    conditions = read_saved_json(path, kind={str: object}).get("judged") or {}
    if not isinstance(conditions, dict) or not isinstance(conditions.get("clips", ""), str):
        raise InputError(f"{path} is damaged; remove it and evaluate again")
    return conditions if "clips" in conditions else {}


def _clips(config: Config) -> tuple[list[Entry], tuple[float, float]]:
    clips, score_range = clips_of(config.train_set, config.read)
    return [clip if isinstance(clip, Entry) else entry_of(clip) for clip in clips], score_range
