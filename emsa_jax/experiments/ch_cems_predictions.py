"""Predictions as the CH-CEMS benchmark reads them: of several models, a list of rows for each seed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.answers.labels import SENTIMENTS
from emsa_jax.data.facts import FACTS
from emsa_jax.data.puppets.world import is_puppet
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class Predictions:
    """seeds: model -> a list of predictions for each of its seeds. puppets: whether any of them are of puppets."""

    seeds: Mapping[str, Sequence[Sequence[Mapping]]]
    puppets: bool


def read_runs(runs: Sequence[str]) -> Predictions:
    """The predictions of config.runs, each "MODEL=PATH". Raises InputError for a file that is no such predictions."""
    seeds: dict[str, list[list[dict]]] = {}
    puppets, seen = False, set()
    for run in runs:
        model, _, path = run.partition("=")
        if not model or not path:
            raise InputError(f"config.runs: {run!r} must look like MODEL=PATH")
        file = Path(path) / "predictions.jsonl" if Path(path).is_dir() else Path(path)
        rows, others = read_predictions(file), seeds.setdefault(model, [])
        if file.resolve() in seen:
            raise InputError(f"config.runs: {file} is named twice; each seed has predictions of its own")
        if others and {row.get("id") for row in rows} != {row.get("id") for row in others[0]}:
            raise InputError(
                f"config.runs: {file} is not of the clips that other seeds of {model} are of; give it "
                "another model's name"
            )
        seen.add(file.resolve())
        others.append(rows)
        puppets |= _of_puppets(file, rows)
    return Predictions(seeds, puppets)


def read_predictions(path: str | Path) -> list[dict]:
    """The rows of a predictions.jsonl, scores in [-1, 1]. InputError naming file and line."""
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"config.runs: {path} cannot be read: {getattr(error, 'strerror', None) or error}; name what "
            "an evaluation left, such as RUN/evaluate/grpo/train"
        ) from error
    rows = [_prediction(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not any(row["target"] is not None for row in rows):
        raise InputError(f"{path}: no prediction has a true score beside it")
    return rows


def _prediction(line: str, where: str) -> dict:
    try:
        row = json.loads(line)
        target, about = row["target"], row.get("about", {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{where}: not a prediction: {error}; those of a csv go through configs/evaluate.py first"
        ) from error
    if not any(name in row for name in ("score", "sentiment", "label")) or not isinstance(about, dict):
        raise InputError(f"{where}: a prediction has a score, a sentiment or a label (null: unparsed)")
    for name, value in (("target", target), ("score", row.get("score"))):
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value)
        ):
            raise InputError(f"{where}: {name} {value!r} is no number")
    if target is not None and not -1 <= target <= 1:
        raise InputError(f"{where}: target {target} is outside [-1, 1]; CH-CEMS' tables are for scores in that range")
    if row.get("sentiment") not in (None, *SENTIMENTS[5]):
        raise InputError(f"{where}: sentiment {row['sentiment']!r} is none of {', '.join(SENTIMENTS[5])}")
    return row


def other_clips(seeds: Mapping[str, Sequence[Sequence[Mapping]]]) -> list[str]:
    """A note if the paper's lines stand beside those of other clips."""
    official = FACTS["ch_cems"].sizes["test"]
    numbers = {sum(row["target"] is not None for row in rows) for lists in seeds.values() for rows in lists}
    ours = ", ".join(map(str, sorted(numbers)))
    return (
        [f"The published lines are of CH-CEMS' {official} test clips, ours of {ours}: they do not compare."]
        if numbers != {official}
        else []
    )


def _of_puppets(file: Path, rows: Sequence[Mapping]) -> bool:
    """Whether the clips are puppets, by their ids or by the config of the run that left this file."""
    if all(is_puppet(str(row.get("id"))) for row in rows):
        return True
    for parent in list(file.absolute().parents)[:4]:
        config = parent / "config.json"
        if config.is_file():
            try:
                return json.loads(config.read_text())["data"].startswith("puppets:")
            except (OSError, ValueError, KeyError, AttributeError) as error:
                raise InputError(f"config.runs: {config} is damaged, so that nobody knows of what {file} is") from error
    return False
