"""The page and the plots of cost.py."""

from __future__ import annotations

from figures import chart, table

PHASES = ("prefill", "decode", "hint", "reference", "update")
NAMES = {
    "prompt": "Prompt tokens",
    "group": "G, answers to a prompt",
    "answers": "Answer tokens",
    "hinted": "BatchSharding of hinted groups",
}
SHARED, UNSHARED = "one prompt for G answers", "one prompt for each answer"


def page(found: dict[str, list[dict]], head: list[str]) -> str:
    """Markdown: `head`, and for each axis its tables and plots. found: cost.measure."""
    lines = ["# Cost as the work grows", "", *head]
    for axis, rows in found.items():
        lines += [f"## {NAMES[axis]}", ""]
        if axis == "hinted":
            names = ("value", "groups", "bucket", "hint", "own_bucket", "total")
            lines += table(
                [NAMES[axis], "groups", "compiled size", "hint", "hint in a size of its own", "total"],
                [[row[name] for name in names] for row in rows],
            )
            lines += [f"![](cost_{axis}.svg)", ""]
            continue
        lines += table(
            [NAMES[axis], *PHASES, "total", "decode, tokens/s"],
            [[row[name] for name in ("value", *PHASES, "total", "tok_s")] for row in rows],
        )
        lines += [f"![](cost_{axis}.svg)", "", f"The update with {SHARED}, and with {UNSHARED}:", ""]
        lines += table(
            [NAMES[axis], SHARED, UNSHARED, "ratio", "ratio by formula", "micro-batches of both", "GiB of both"],
            [_update_row(row) for row in rows],
        )
        lines += [f"![](cost_{axis}_update.svg)", ""]
    return "\n".join(lines)


def plots(found: dict[str, list[dict]]) -> dict[str, str]:
    """{file name: SVG}."""
    files = {}
    for axis, rows in found.items():
        if axis == "hinted":
            lines = {"in the compiled sizes": _line(rows, "hint"), "in a size of its own": _line(rows, "own_bucket")}
            files[f"cost_{axis}.svg"] = chart("Hinted groups, sampled again", NAMES[axis], "seconds", lines, log=False)
            continue
        lines = {phase: _line(rows, phase) for phase in PHASES}
        files[f"cost_{axis}.svg"] = chart("Phases of a step", NAMES[axis], "seconds", lines)
        lines = {
            SHARED: _line(rows, "update"),
            UNSHARED: _line(rows, "unshared"),
            "the latter by formula": [(row["value"], row["update"] * row["predicted"]) for row in rows],
        }
        files[f"cost_{axis}_update.svg"] = chart("The update", NAMES[axis], "seconds", lines)
    return files


def _line(rows: list[dict], name: str) -> list[tuple[float, float]]:
    return [(row["value"], row[name]) for row in rows if row[name] is not None]


def _update_row(row: dict) -> list:
    def both(name, text_of):
        return ", ".join("-" if row[key] is None else text_of(row[key]) for key in (name, f"unshared_{name}"))

    return [
        row["value"],
        row["update"],
        row["unshared"],
        row["ratio"],
        row["predicted"],
        both("micro_batches", str),
        both("bytes", lambda size: f"{size / 2**30:.2f}"),
    ]
