"""What a run's page tells, as plain data, and the parts its sections are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emsa_jax.report.result_table import Cell, ResultTable


@dataclass(frozen=True)
class Result:
    """What `evaluation.predictions.summarize` said of a policy on a data set, under the names that a reader sees."""

    policy: str
    data: str
    found: Mapping[str, Any]


@dataclass(frozen=True)
class Content:
    """What a page tells.

    lead: one sentence. rows: run -> its rows of metrics.jsonl. results: in order. cases: `cases.numbered`. media:
    number of a case -> `cases.media_of`. paired: comparisons of two runs, (name, `resampling.compare`). hints: run ->
    share of hinted answers that ignore the hint. cards: run -> lines of its faithfulness card. made: (caption, (name,
    value) pairs). tiles: (name, value, note) of the numbers that come first. warnings: lines that stand above all else.
    live: seconds until the page is read anew, 0 for a page that is done.
    """

    title: str
    lead: str
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    results: Sequence[Result]
    cases: Sequence[Mapping[str, Any]] = ()
    media: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    paired: Sequence[tuple[str, Mapping[str, Any]]] = ()
    hints: Mapping[str, float | None] = field(default_factory=dict)
    cards: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    made: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    notes: Sequence[str] = ()
    tiles: Sequence[tuple[str, str, str]] = ()
    warnings: Sequence[str] = ()
    live: int = 0


def section(
    id: str,
    title: str,
    *,
    drawn: Sequence = (),
    tables: Sequence = (),
    text: str = "",
    kind: str = "",
    folded: Sequence = (),
    folded_title: str = "",
) -> dict | None:
    """A section for the template; None where there is nothing to show."""
    drawn = [one for one in drawn if one is not None]
    if not drawn and not tables:
        return None
    return {
        "id": id,
        "title": title,
        "drawn": drawn,
        "tables": tables,
        "text": text,
        "kind": kind,
        "folded": folded,
        "folded_title": folded_title,
    }


def by_data(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Data set -> its results, in order."""
    return {data: [r for r in results if r.data == data] for data in dict.fromkeys(r.data for r in results)}


def row(name: str, cells: Sequence[dict], quiet: bool = False) -> dict:
    """A row of a table; quiet: a floor, not a result."""
    return {"name": name, "cells": cells, "quiet": quiet}


def table_of(table: ResultTable, caption: str) -> dict:
    """A table of results for the template; intervals, or else remarks, stand below the numbers."""
    rows = [row(one.name, [_shown(found) for found in one.cells], one.quiet) for one in table.rows]
    return {"caption": caption, "columns": ["policy", *table.columns], "rows": rows}


def _shown(found: Cell) -> dict:
    low_high = "" if found.interval is None else "{:.3f} to {:.3f}".format(*found.interval)
    return {"value": found.value, "note": "; ".join(filter(None, (low_high, found.remark)))}


def cell(value: float | int | None, interval: Sequence[float] | None = None, sign: str = "", digits: int = 3) -> dict:
    """A number as a table shows it, with its interval below."""
    if value is None:
        return {"value": "-", "note": ""}
    number = f"{value:,}" if isinstance(value, int) else f"{value:{sign}.{digits}f}"
    return {"value": number, "note": f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""}
