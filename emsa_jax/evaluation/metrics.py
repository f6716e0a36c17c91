"""The metrics of a csv with the columns true and pred, as one JSON object.

python -m emsa_jax.evaluation.metrics --family={mosi,sims,labels3,labels5} FILE.csv [--help]
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from emsa_jax.data import labels_csv
from emsa_jax.errors import InputError
from emsa_jax.evaluation.classification import label_row
from emsa_jax.evaluation.controls import label_controls, score_controls
from emsa_jax.evaluation.resampling import RESAMPLES, compare, intervals
from emsa_jax.evaluation.sentiment_metrics import F1_AVERAGES, FALLBACKS, FAMILIES, score_row

DESCRIPTION = "The metrics of a csv with the columns true and pred, as one JSON object."
CLASSES = {"labels3": 3, "labels5": 5}


class _OneLine(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """In one line, as all bad input is."""
        raise InputError(f"{message} (--help tells more)")


def main(arguments: Sequence[str]) -> int:
    """Prints the object; an exit status. A bad file is one line on the standard error, and 2."""
    try:
        args = _parser().parse_args(arguments)
        if args.resamples < 1:
            raise InputError(f"--resamples must be at least 1, not {args.resamples}")
        if args.family in CLASSES and args.f1 != "weighted":
            raise InputError(f"--f1={args.f1} is for scores; of classes, WF1 and F1 (macro) are both printed")
        result = score_file(args)
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(json.dumps(result, allow_nan=False))
    return 0


def score_file(args: argparse.Namespace) -> dict:
    """The metrics of `args.file`, with what else was asked for."""
    pred, true = read_pairs(args.file, args.family)
    measure = _measure(args)
    result = measure(pred, true)
    if args.intervals:
        result["intervals"] = intervals(lambda rows: measure(_take(pred, rows), true[rows]), len(true), args.resamples)
    if args.controls:
        controls = label_controls if args.family in CLASSES else score_controls
        result["controls"] = controls(pred, true, measure)
    if args.against:
        other, truth = read_pairs(args.against, args.family)
        if not np.array_equal(truth, true):
            raise InputError(
                f"{args.against}: its true column is not that of {args.file}; a paired test needs the "
                "same samples in the same order"
            )
        result["against"] = compare(measure, pred, other, true, args.resamples)
    return result


def read_pairs(path: Path, family: str) -> tuple[list, np.ndarray]:
    """(predictions, None or -1 where unparsed; true values [n] float32 or int) of a csv with columns true and pred.

    Raises InputError naming file and line for what is neither."""
    classes = CLASSES.get(family)
    pred, true = [], []
    for where, row in labels_csv.rows(Path(path), ("true", "pred")):
        truth = _value(row["true"], classes, where, "true")
        if truth is None or (classes and truth < 0):
            raise InputError(f"{where}: true is {row['true']!r}; every sample needs its true value")
        guess = _value(row["pred"], classes, where, "pred")
        pred.append(-1 if classes and guess is None else guess)
        true.append(truth)
    return pred, np.array(true, int if classes else np.float32)


def _value(cell: str, classes: int | None, where: str, column: str) -> float | int | None:
    """A cell's number; None where it is empty or nan."""
    try:
        number = float(cell) if cell.strip() else np.nan
    except ValueError:
        said = f"is no index from 0 to {classes - 1}" if classes else "is no number"
        raise InputError(f"{where}: {column} {cell[:40]!r} {said}; leave it empty if it is unparsed") from None
    if np.isnan(number):
        return None
    if classes is None:
        if not abs(number) <= float(np.finfo(np.float32).max):  # a Python float: NumPy's would be cast, and warn
            raise InputError(f"{where}: {column} {cell[:40]!r} is not finite")
        return float(np.float32(number))
    if number not in range(-1, classes):
        raise InputError(
            f"{where}: {column} {cell[:40]!r} is no class; they are 0 to {classes - 1}, and -1 for unparsed"
        )
    return int(number)


def _measure(args: argparse.Namespace) -> Callable:
    if args.family in CLASSES:
        return lambda pred, true: label_row(pred, true, CLASSES[args.family])
    return lambda pred, true: score_row(pred, true, args.family, fallback=args.fallback, f1_average=args.f1)


def _take(values: list, rows: np.ndarray) -> list:
    return [values[i] for i in rows]


def _parser() -> argparse.ArgumentParser:
    parser = _OneLine(prog="python -m emsa_jax.evaluation.metrics", description=DESCRIPTION)
    parser.add_argument("file", type=Path, help="csv with columns true and pred; an empty pred is unparsed")
    parser.add_argument("--family", required=True, choices=(*FAMILIES, *CLASSES))
    parser.add_argument(
        "--fallback",
        default=FALLBACKS[0],
        choices=FALLBACKS,
        help="what an unparsed score counts as: the wrong end (worst), 0 (neutral), nothing (drop)",
    )
    parser.add_argument("--f1", default="weighted", choices=F1_AVERAGES)
    parser.add_argument("--intervals", action="store_true", help="adds bootstrap intervals of 95%%")
    parser.add_argument("--controls", action="store_true", help="adds random, constant and shuffled predictions")
    parser.add_argument("--against", type=Path, help="another csv of the same samples: adds paired tests")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
