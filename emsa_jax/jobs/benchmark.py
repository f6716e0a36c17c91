"""The CH-CEMS benchmark: predictions of several seeds -> the paper's tables and figures, its own lines beside ours."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from emsa_jax.answers.labels import SENTIMENTS
from emsa_jax.data.facts import FACTS
from emsa_jax.data.puppets.world import is_puppet
from emsa_jax.errors import InputError
from emsa_jax.manifest import write_outputs
from emsa_jax.report.box_plots import box_plot
from emsa_jax.report.ch_cems_published import CLASS_COLUMNS, REGRESSION_COLUMNS
from emsa_jax.report.ch_cems_tables import (
    Row,
    class_row,
    group_accuracies,
    markdown,
    published_classes,
    published_regression,
    regression_row,
    scored,
)
from emsa_jax.runtime.console import say
from emsa_jax.settings.job_options import BenchmarkOptions

_FIGURES = {"scenario": "figure7", "interaction": "figure8"}
_PUPPETS = "Puppets are a test bench: no number here compares with one from a paper, and none stands beside it."


def benchmark(options: BenchmarkOptions) -> None:
    """Writes `options.out`. Of puppets, the paper's lines are left out."""
    if not options.runs or not options.out:
        raise InputError('config.runs and config.out: name predictions as "MODEL=PATH", and a directory to write')
    seeds: dict[str, list[list[dict]]] = {}
    puppets, seen = False, set()
    for run in options.runs:
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

    tables = {"Regression (tables 3 and 7)": (REGRESSION_COLUMNS, _regression(seeds, puppets))}
    tables |= {
        f"{classes} classes (tables 4 and {8 if classes == 3 else 9})": (
            CLASS_COLUMNS,
            _classification(seeds, classes, puppets),
        )
        for classes in (3, 5)
    }
    out, files = Path(options.out), {}
    note = "In percent; mean±standard deviation over seeds (n - 1)" + ("." if puppets else "; the paper's as printed.")
    told = [_PUPPETS] if puppets else _other_clips(seeds)
    text = ["# CH-CEMS benchmark", "", note, *told, ""]
    text += [markdown(title, columns, rows) for title, (columns, rows) in tables.items() if rows]
    for group, name in _FIGURES.items():
        for classes in (3, 5):
            found = {model: group_accuracies(lists, group, classes) for model, lists in seeds.items()}
            values = dict.fromkeys(value for by_value in found.values() for value in by_value)
            if values:
                groups = {v: {m: by_value[v] for m, by_value in found.items() if v in by_value} for v in values}
                title = f"Accuracy in {classes} classes by {group}"
                files[f"{name}_{classes}.svg"] = box_plot(groups, title, "accuracy, %").encode()
                text += [f"![{title}]({name}_{classes}.svg)", ""]
    files |= {"tables.csv": _csv(tables), "tables.md": "\n".join(text).encode()}
    write_outputs(out, files)
    for line in told:
        say(f"note: {line}")
    say(f"tables: {out / 'tables.md'}")


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


def _other_clips(seeds: Mapping[str, Sequence[Sequence[Mapping]]]) -> list[str]:
    """What is to be said where the paper's lines stand beside those of other clips."""
    official = FACTS["ch_cems"].sizes["test"]
    numbers = {sum(row["target"] is not None for row in rows) for lists in seeds.values() for rows in lists}
    ours = ", ".join(map(str, sorted(numbers)))
    return (
        [f"The published lines are of CH-CEMS' {official} test clips, ours of {ours}: they do not compare."]
        if numbers != {official}
        else []
    )


def _regression(seeds: Mapping[str, Sequence], puppets: bool) -> list[Row]:
    ours = [regression_row(model, lists) for model, lists in seeds.items() if all(map(scored, lists))]
    return ([] if puppets or not ours else published_regression()) + ours


def _classification(seeds: Mapping[str, Sequence], classes: int, puppets: bool) -> list[Row]:
    ours = [row for model, lists in seeds.items() if (row := class_row(model, lists, classes))]
    return ([] if puppets or not ours else published_classes(classes)) + ours


def _of_puppets(file: Path, rows: Sequence[Mapping]) -> bool:
    """Whether the run that left this file, or its clips' ids, speak of puppets."""
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


def _csv(tables: Mapping[str, tuple[Sequence[str], Sequence[Row]]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("table", "model", "from", "seeds", "column", "mean", "deviation"))
    for title, (columns, rows) in tables.items():
        for row in rows:
            for column, mean, deviation in zip(columns, row.means, row.deviations, strict=True):
                cells = ["" if value is None else f"{value:.4f}" for value in (mean, deviation)]
                writer.writerow(
                    (title, row.model, "published" if row.published else "here", row.seeds or "", column, *cells)
                )
    return text.getvalue().encode()
