"""A table of arms over seeds as csv, Markdown and LaTeX: means with their spread, and paired differences."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emsa_jax.evaluation.resampling import over_seeds, paired_seeds
from emsa_jax.report import latex
from emsa_jax.report.result_table import MARKS

COLUMNS = {
    "accuracy": ("polarity acc", "%"),
    "reward_sampled": ("reward, sampled", ""),
    "hard_accuracy": ("on hard", "%"),
    "prefix_logp": ("prefix logp", "nats"),
    "f1": ("macro F1", "%"),
    "mae": ("MAE", ""),
    "corr": ("Corr", ""),
    "parsed": ("parsed", "%"),
    "accuracy_cross": ("acc, other domain", "%"),
    "mae_cross": ("MAE, other domain", ""),
    "moved": ("moved", "%"),
    "tokens": ("tokens drawn", "k"),
    "has0_acc2": ("Acc2", "%"),
    "non0_acc2": ("Acc2 without 0", "%"),
    "has0_f1": ("F1", "%"),
    "non0_f1": ("F1 without 0", "%"),
    "weak_acc2": ("Acc2 weak", "%"),
    "acc3": ("Acc3", "%"),
    "acc5": ("Acc5", "%"),
    "acc7": ("Acc7", "%"),
}
COMPARED = ("accuracy", "reward_sampled", "hard_accuracy", "prefix_logp", "accuracy_cross", "mae")
_FACTOR = {"%": 100.0, "k": 0.001}


@dataclass(frozen=True)
class Row:
    """An arm: its heading, and seed -> values of its cells so far. wanted: how many seeds it is to have."""

    name: str
    title: str
    cells: Mapping[int, Mapping[str, float | None]]
    wanted: int


def marked(title: str, statuses: Sequence[str]) -> str:
    """The heading of an arm, with what went wrong in how many of its seeds. statuses: of the stage that each seed
    trained, as its summary.json has it."""
    counts = {mark: sum(status == known for status in statuses) for known, mark in MARKS.items()}
    said = [f"{mark} in {n} of {len(statuses)} seeds" for mark, n in counts.items() if n]
    return f"{title} ({', '.join(said)})" if said else title


def as_csv(rows: Sequence[Row]) -> str:
    """One line an arm and metric: mean, std, interval of the mean (95%, Student), seeds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["arm", "metric", "mean", "std", "low", "high", "seeds"])
    for row in rows:
        for key in _present(rows):
            found = over_seeds([cell.get(key) for cell in row.cells.values()])
            low, high = found["interval"] or (None, None)
            writer.writerow([row.name, key, *(_plain(v) for v in (found["mean"], found["std"], low, high)), found["n"]])
    return out.getvalue()


def differences_csv(rows: Sequence[Row], baseline: str) -> str:
    """One line an arm and metric: its difference to the baseline over the seeds that both have."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["arm", "baseline", "metric", "difference", "std", "low", "high", "p", "seeds", "seeds_needed"])
    for name, key, found in _differences(rows, baseline):
        low, high = found["interval"] or (None, None)
        numbers = (found["mean"], found["std"], low, high, found["p"])
        writer.writerow([name, baseline, key, *map(_plain, numbers), found["n"], found["needed"] or ""])
    return out.getvalue()


def as_markdown(rows: Sequence[Row], baseline: str) -> str:
    """Two tables: mean ± standard deviation over seeds; and differences to the baseline with interval and p."""
    keys = _present(rows)
    heads = [f"{COLUMNS[key][0]}{_unit(key)}" for key in keys]
    lines = ["| arm | seeds | " + " | ".join(heads) + " |", "|" + "---|" * (len(keys) + 2)]
    for row in rows:
        lines.append(
            f"| {row.title} | {len(row.cells)} of {row.wanted} | "
            + " | ".join(_spread(row, key, "{} ± {}") for key in keys)
            + " |"
        )
    titles = {row.name: row.title for row in rows}
    found = [d for d in _differences(rows, baseline) if d[1] in COMPARED and d[2]["interval"]]  # of one seed: none
    if found:
        lines += [
            "",
            f'Differences to "{titles[baseline]}", paired by seed:',
            "",
            "| arm | metric | difference | 95% interval | p | seeds | seeds needed |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, key, one in found:
            interval = (
                "-" if one["interval"] is None else "{} to {}".format(*(_format(v, key, "+") for v in one["interval"]))
            )
            p = "-" if one["p"] is None else "< 0.001" if one["p"] < 0.001 else f"{one['p']:.3f}"
            lines.append(
                f"| {titles[name]} | {COLUMNS[key][0]}{_unit(key)} | {_format(one['mean'], key, '+')} | {interval} | "
                f"{p} | {one['n']} | {one['needed'] or '-'} |"
            )
    return "\n".join(lines) + "\n"


def as_latex(rows: Sequence[Row], caption: str) -> str:
    """A table for booktabs: seeds, mean and, small, standard deviation. Bold is the best mean over the seeds that all
    arms of a column have."""
    keys = _present(rows)
    best = {key: _best(rows, key) for key in keys}
    lines = []
    for row in rows:
        cells = []
        for key in keys:
            cell = _spread(row, key, r"{}\,{{\scriptsize$\pm${}}}")
            cells.append(rf"\textbf{{{cell}}}" if row.name == best[key] else cell)
        lines.append([latex.escape(row.title), str(len(row.cells)), *cells])
    titles = ["", "seeds", *(f"{COLUMNS[key][0]}{_unit(key)}" for key in keys)]
    return latex.table(caption, f"lr{'c' * len(keys)}", titles, lines)


def _differences(rows: Sequence[Row], baseline: str) -> Iterator[tuple[str, str, Any]]:
    base = next(row for row in rows if row.name == baseline)
    for row in rows:
        if row.name == baseline:
            continue
        for key in _present(rows):
            seeds = [
                seed
                for seed in row.cells
                if seed in base.cells and row.cells[seed].get(key) is not None and base.cells[seed].get(key) is not None
            ]
            if seeds:
                pair = ([one.cells[seed][key] for seed in seeds] for one in (row, base))
                yield row.name, key, paired_seeds(*pair)


def _present(rows: Sequence[Row]) -> list[str]:
    return [key for key in COLUMNS if any(cell.get(key) is not None for row in rows for cell in row.cells.values())]


def _spread(row: Row, key: str, form: str) -> str:
    found = over_seeds([cell.get(key) for cell in row.cells.values()])
    if found["mean"] is None:
        return "-"
    mean = _format(found["mean"], key)
    return mean if found["std"] is None else form.format(mean, _format(found["std"], key))


def _best(rows: Sequence[Row], key: str) -> str | None:
    if key in ("tokens", "moved"):
        return None
    cells = {}
    for row in rows:
        if known := {seed: cell[key] for seed, cell in row.cells.items() if cell.get(key) is not None}:
            cells[row.name] = known
    shared = set.intersection(*map(set, cells.values())) if cells else set()
    means = {name: over_seeds([by_seed[seed] for seed in shared])["mean"] for name, by_seed in cells.items() if shared}
    choose = min if key.startswith("mae") else max
    return choose(means, key=means.get) if len(means) > 1 else None


def _format(value: float, key: str, sign: str = "") -> str:
    unit = COLUMNS[key][1]
    digits = 1 if unit in _FACTOR else 2 if unit else 3
    return f"{value * _FACTOR.get(unit, 1.0):{sign}.{digits}f}"


def _unit(key: str) -> str:
    unit = COLUMNS[key][1]
    return f" ({unit})" if unit else ""


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
