"""The curves of runs as files: a PNG and a csv of each plot that a run's page has."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from emsa_jax.report.curve_list import CURVES, Curve
from emsa_jax.report.plots import Series, curves
from emsa_jax.report.png import png_of

Rows = Mapping[str, Sequence[Mapping[str, Any]]]
"""Name of a run -> the rows of its metrics.jsonl."""


def curve_series(rows_of: Rows) -> Iterator[tuple[Curve, str, list[Series]]]:
    """(curve, title, its lines) of all of `curve_list`; of several runs the first name of each, a line a run."""
    several = len(rows_of) > 1
    for curve in CURVES:
        series = []
        for run, rows in rows_of.items():
            staged = [row for row in rows if row.get("stage") == curve.stage]
            names = dict(list(curve.names.items())[:1]) if several else curve.names
            series += [
                Series(run if several else text, [row["step"] for row in staged], [row.get(name) for row in staged])
                for name, text in names.items()
            ]
        one = several and len(curve.names) > 1
        yield curve, f"{curve.title}: {next(iter(curve.names.values()))}" if one else curve.title, series


def curve_files(rows_of: Rows) -> dict[str, bytes]:
    """Name of a file -> its bytes; nothing for a curve without a value."""
    files = {}
    for curve, title, series in curve_series(rows_of):
        drawing = curves(title, curve.unit, series, curve.across, curve.smooth, curve.zero)
        if drawing is not None:
            name = f"{curve.stage}_{re.sub('[^a-z]+', '_', curve.title.lower())}"
            files |= {f"{name}.png": png_of(drawing), f"{name}.csv": as_csv(series).encode()}
    return files


def as_csv(series: Sequence[Series]) -> str:
    """A line a step: the values as they were logged, empty where there is none."""
    values = [dict(zip(one.steps, one.values, strict=True)) for one in series]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["step", *(one.name for one in series)])
    for step in sorted({step for one in values for step, value in one.items() if value is not None}):
        writer.writerow([step, *("" if (value := one.get(step)) is None else repr(value) for one in values)])
    return out.getvalue()
