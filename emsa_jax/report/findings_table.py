"""What was found out about a prepared set, as tables and lines for the terminal and the page of `inspect`."""

from collections.abc import Mapping
from typing import Any

from emsa_jax.data.records import Manifest

_REASONS = 5  # quarantined clips that are named, and reasons that are counted
LISTED = 12  # classes; the rest are counted as one
CAPTION = "Clips by class and split (and how many were quarantined), and quartiles of the scores"
Rows = list[tuple[str, list[str]]]


def class_table(findings: Mapping[str, Any]) -> tuple[str, list[str], Rows]:
    """(caption, column names, rows) of the clips that were kept and quarantined, and of the scores."""
    splits = findings["splits"]
    totals: dict[str, int] = {}
    for counts in splits.values():
        for name, (kept, lost) in counts["classes"].items():
            totals[name] = totals.get(name, 0) + kept + lost
    names = sorted(totals, key=lambda name: -totals[name])
    listed, rest = names[:LISTED], names[LISTED:]
    rows = [("all", [_count(s["kept"], s["quarantined"]) for s in splits.values()])]
    rows += [(name, [_count(*s["classes"].get(name, (0, 0))) for s in splits.values()]) for name in listed]
    if rest:
        sums = [[s["classes"].get(name, (0, 0)) for name in rest] for s in splits.values()]
        rows.append((f"and {len(rest)} more", [_count(*map(sum, zip(*pairs, strict=True))) for pairs in sums]))
    if any(s["scores"] for s in splits.values()):
        rows.append(("scores", [" ".join(f"{v:.3g}" for v in s["scores"].values()) or "-" for s in splits.values()]))
    return CAPTION, ["class", *splits], rows


def reason_table(findings: Mapping[str, Any]) -> tuple[str, list[str], Rows]:
    """(caption, column names, rows) of why clips were quarantined."""
    rows = [(reason, [f"{n:,}"]) for reason, n in findings["reasons"].items()]
    return "Why clips were quarantined", ["reason", "clips"], rows


def note_table(findings: Mapping[str, Any]) -> tuple[str, list[str], Rows]:
    """(caption, column names, rows) of what was guessed of clips, and of what is odd about them."""
    splits = findings["splits"]
    rows = [
        (one["note"], [*(f"{one['splits'].get(split, 0):,}" for split in splits), ", ".join(one["examples"])])
        for one in findings["notes"]
    ]
    return (
        "How clips were read where that was not plain, and what is odd about them",
        ["note", *splits, "such as"],
        rows,
    )


def findings_lines(name: str, manifest: Manifest) -> list[str]:
    """What a person is told of a set of records when it has been prepared. name: of the set."""
    counts = ", ".join(f"{count} {split}" for split, count in manifest.samples.items())
    lines = [f"{name}: {counts} clips prepared, {len(manifest.quarantined)} quarantined"]
    if manifest.findings:
        lines += lines_of(class_table(manifest.findings))
    lines += [f"  quarantined {row['id']}: {row['reason']}" for row in manifest.quarantined[:_REASONS]]
    if len(manifest.quarantined) > _REASONS:
        reasons = manifest.findings.get("reasons", {})
        lines += [f"  quarantined {n}: {reason}" for reason, n in list(reasons.items())[:_REASONS]]
    return lines + manifest.findings.get("said", [])


def lines_of(table: tuple[str, list[str], Rows]) -> list[str]:
    """A table as lines of text with columns of the same width."""
    _, names, rows = table
    grid = [names, *([name, *cells] for name, cells in rows)]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in grid
    ]


def _count(kept: int, quarantined: int) -> str:
    return f"{kept:,} ({quarantined:,} quarantined)" if quarantined else f"{kept:,}"
