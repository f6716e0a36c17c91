"""The page of `distill`: how many traces were kept, of which classes, why the others were not, and samples of each."""

from collections.abc import Mapping, Sequence
from typing import Any

from emsa_jax.report.page import render, template


def yield_page(counts: Mapping[str, Any], examples: Mapping[str, Sequence[Mapping[str, Any]]], made: Mapping) -> bytes:
    """The page, as UTF-8 HTML. counts, examples: as teaching.yields has them. made: what was asked for."""
    samples, tokens = counts["samples"], counts["tokens"]
    intro = (
        f"{samples['kept']:,} of {samples['asked']:,} samples have a trace that was kept, "
        f"{samples['kept aside']:,} were kept aside, {samples['open']:,} are open; {counts['answers']:,} answers, "
        f"{counts['requests']:,} requests, {tokens['prompt']:,} tokens of prompts, {tokens['answer']:,} of answers"
        + (f", cost {counts['money']:,}" if counts["money"] else "")
    )
    tables = [
        _shares("By polarity", counts["by_polarity"]),
        _shares("By what the teacher was shown", counts["by_modalities"]),
        ("Why samples were kept aside", ["reason", "samples"], _plain(counts["reasons"])),
        ("Why answers were rejected", ["check", "answers"], _plain(counts["rejected"])),
        ("Further", ["samples", "number"], _plain({name: samples[name] for name in ("refined", "by people")})),
    ]
    groups = [(outcome, [_card(row) for row in rows]) for outcome, rows in sorted(examples.items())]
    return render(
        template("yield.html"),
        "What the teacher gave",
        template("yield.css"),
        intro=intro,
        tables=tables,
        groups=groups,
        made=made,
    )


def _shares(caption: str, table: Mapping[str, Mapping[str, int]]) -> tuple[str, list[str], list[tuple[str, list[str]]]]:
    rows = [
        (value, [f"{row['asked']:,}", f"{row['kept']:,}", _percent(row["kept"], row["asked"])])
        for value, row in table.items()
    ]
    return caption, ["class", "asked", "kept", "share"], rows


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _plain(table: Mapping[str, int]) -> list[tuple[str, list[str]]]:
    return [(name, [f"{n:,}"]) for name, n in table.items()]


def _card(row: Mapping[str, Any]) -> dict[str, Any]:
    truth = row["truth"]
    which = f"decided by {row['by']}" if row["kind"] == "decision" else f"{row['step']}, attempt {row['attempt'] + 1}"
    prompt = row.get("prompt", {})
    return {
        "id": row["id"],
        "summary": f"{which}; true: {truth['polarity']}, {truth['score']:g}; shown: {', '.join(truth['modalities'])}",
        "answer": row["answer"] if row.get("answer") is not None else "(no answer)",
        "wrong": [f"{name}: {why}" for name, why in row.get("checks", {}).items() if why]
        or ([row["reason"]] if row.get("reason") else []),
        "prompt": "\n\n".join(filter(None, (prompt.get("system"), prompt.get("user")))),
    }
