"""The files of the CH-CEMS benchmark: its tables as Markdown and csv, and its figures as SVG."""

import csv
import io
from collections.abc import Mapping, Sequence

from emsa_jax.experiments.ch_cems_tables import Table, group_accuracies
from emsa_jax.report.box_plots import box_plot

MARK = "published"
FIGURES = {"scenario": "figure7", "interaction": "figure8"}


def benchmark_files(
    tables: Sequence[Table], seeds: Mapping[str, Sequence], notes: Sequence[str], puppets: bool
) -> dict[str, bytes]:
    """Name -> content of tables.md, tables.csv and the figures. seeds: model -> predictions of each seed. notes: are
    written above the tables."""
    note = "In percent; mean±standard deviation over seeds (n - 1)" + ("." if puppets else "; the paper's as printed.")
    text = ["# CH-CEMS benchmark", "", note, *notes, ""]
    text += [table_markdown(table) for table in tables if table.rows]
    files = {}
    for group, name in FIGURES.items():
        for classes in (3, 5):
            found = {model: group_accuracies(lists, group, classes) for model, lists in seeds.items()}
            values = dict.fromkeys(value for by_value in found.values() for value in by_value)
            if values:
                groups = {v: {m: by_value[v] for m, by_value in found.items() if v in by_value} for v in values}
                title = f"Accuracy in {classes} classes by {group}"
                files[f"{name}_{classes}.svg"] = box_plot(groups, title, "accuracy, %").encode()
                text += [f"![{title}]({name}_{classes}.svg)", ""]
    return files | {"tables.csv": tables_csv(tables), "tables.md": "\n".join(text).encode()}


def table_markdown(table: Table) -> str:
    """A table with mean and deviation in each cell, published lines marked as such."""
    lines = [
        f"## {table.title}",
        "",
        "| model | from | seeds | " + " | ".join(table.columns) + " |",
        "|" + "---|" * (len(table.columns) + 3),
    ]
    for row in table.rows:
        cells = [_cell(m, d) for m, d in zip(row.means, row.deviations, strict=True)]
        source = MARK if row.published else "here"
        model = row.model.replace("|", "\\|")
        lines.append(f"| {model} | {source} | {row.seeds or '-'} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def tables_csv(tables: Sequence[Table]) -> bytes:
    """One line for each table, row and column: mean and deviation."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("table", "model", "from", "seeds", "column", "mean", "deviation"))
    for table in tables:
        for row in table.rows:
            source = MARK if row.published else "here"
            for column, mean, deviation in zip(table.columns, row.means, row.deviations, strict=True):
                cells = ["" if value is None else f"{value:.4f}" for value in (mean, deviation)]
                writer.writerow((table.title, row.model, source, row.seeds or "", column, *cells))
    return text.getvalue().encode()


def _cell(mean: float | None, deviation: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.2f}" if deviation is None else f"{mean:.2f}±{deviation:.2f}"
