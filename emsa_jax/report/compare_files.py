"""What the page of a comparison shows, as files: Markdown to read, csv to compute with, LaTeX for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from emsa_jax.report import latex
from emsa_jax.report.result_table import Cell, ResultTable, Row, measured, read_of, result_table
from emsa_jax.report.run_content import Content, Result, by_data

_CLASSES = ("ACC", "WF1", "WP", "F1", "R", "P", "parse_rate")  # of answers that name one of many classes
_TESTS = ("metric", "difference", "95% interval", "p")


def compare_files(content: Content, stem: str) -> dict[str, bytes]:
    """Name of a file -> its bytes: `stem`.md, .csv and .tex."""
    return {
        f"{stem}.md": _markdown(content).encode(),
        f"{stem}.csv": _csv(content).encode(),
        f"{stem}.tex": _latex(content).encode(),
    }


class _Table(NamedTuple):
    """What the results on a data set are. n: clips with a label."""

    data: str
    n: int
    table: ResultTable


def _tables(content: Content) -> Iterator[_Table]:
    """A table of scores, one of classes, or both, for each data set."""
    for data, results in by_data(content.results).items():
        scored = [r for r in results if r.found.get("metrics")]
        if scored:
            made = result_table([(r.policy, r.found) for r in scored])
            yield _Table(data, read_of(scored[-1].found)[1], made)
        if labelled := [r for r in results if r.found.get("labels")]:
            yield _Table(data, labelled[-1].found["clips"], _class_table(labelled))


def _class_table(results: list[Result]) -> ResultTable:
    rows = []
    for one in results:
        intervals = one.found.get("intervals") or {}
        cells = [Cell(_number(one.found["labels"][name]), interval=intervals.get(name)) for name in _CLASSES]
        rows.append(Row(one.policy, tuple(cells)))
    return ResultTable(columns=_CLASSES, rows=tuple(rows), notes=())


def _markdown(content: Content) -> str:
    lines, notes = [f"# {_cell(content.title)}"], []
    for data, n, table in _tables(content):
        lines += ["", f"## {_cell(data)}: {n:,} clips", "", *_rows(("policy", *table.columns), _cells(table))]
        notes += [note for note in table.notes if note not in notes]
    for heading, found in content.paired:
        rows = [tuple(row) for row in _tested(found)]
        if rows:
            lines += ["", f"## {_cell(heading)}", "", "Paired permutation test.", "", *_rows(_TESTS, rows)]
    said = ["Intervals, in brackets: 95%, bootstrap over clips.", *notes, *content.notes, *content.warnings]
    return "\n".join(lines + [line for note in said for line in ("", _cell(note))]) + "\n"


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return [f"| {' | '.join(map(_cell, line))} |" for line in lines]


def _cells(table: ResultTable) -> list[tuple[str, ...]]:
    return [(row.name, *(_with_interval(cell) for cell in row.cells)) for row in table.rows]


def _with_interval(cell: Cell) -> str:
    return cell.text if cell.interval is None else "{} [{:.3f}, {:.3f}]".format(cell.text, *cell.interval)


def _tested(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    for metric, one in found.items():
        if one:
            low, high = one["interval"] or (None, None)
            span = "-" if low is None else f"{low:+.3f} to {high:+.3f}"
            yield metric, _number(one["difference"], "+"), span, _number(one["p"])


def _csv(content: Content) -> str:
    """A line for each number, to the last digit. Of a paired test, policy names both; value is their difference."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["data", "policy", "metric", "value", "low", "high", "n", "p"])
    for data, results in by_data(content.results).items():
        for one in results:
            intervals, labels = one.found.get("intervals") or {}, one.found.get("labels") or {}
            numbers = [(m.title, m.value, m.interval) for m in measured(one.found)]
            numbers += [(name, labels[name], intervals.get(name)) for name in _CLASSES if labels.get(name) is not None]
            n = read_of(one.found)[1] or one.found["clips"]
            for title, value, interval in numbers:
                writer.writerow([data, one.policy, title, value, *(interval or ("", "")), n, ""])
    for heading, found in content.paired:
        pair, _, data = heading.rpartition(": ")[0].partition(", ")
        for metric, one in found.items():
            if one:
                writer.writerow([data, pair, metric, one["difference"], *(one["interval"] or ("", "")), "", one["p"]])
    return out.getvalue()


def _latex(content: Content) -> str:
    parts = ["% needs \\usepackage{booktabs}; wide tables fit with \\resizebox or in landscape"]
    for data, n, table in _tables(content):
        rows = [[latex.escape(row.name), *(_small(cell) for cell in row.cells)] for row in table.rows]
        layout = "l" + "c" * len(table.columns)
        caption = f"{data}: {n:,} clips. Small: 95% interval, bootstrap over clips."
        parts.append(latex.table(caption, layout, ("", *table.columns), rows))
    for heading, found in content.paired:
        if rows := [tuple(map(latex.escape, row)) for row in _tested(found)]:
            parts.append(latex.table(f"{heading}, paired permutation test.", "lccc", _TESTS, rows))
    return "\n".join(parts)


def _small(cell: Cell) -> str:
    said = latex.escape(cell.text)
    return said if cell.interval is None else rf"{said} {{\scriptsize[{cell.interval[0]:.3f}, {cell.interval[1]:.3f}]}}"


def _number(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"


def _cell(text: str) -> str:
    """A text that does not end a cell of a table."""
    return " ".join(str(text).replace("|", r"\|").split())
