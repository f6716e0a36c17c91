"""Decisions as a csv, for people who work with other tools: written with a column to fill in, and read again.

A text that a spreadsheet would take for a formula is written with an apostrophe before it, which is removed on reading.
"""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from emsa_jax.distill.review import VERDICTS, Desk
from emsa_jax.errors import InputError

COLUMNS = ("id", "decision", "answer", "reason", "by", "version", "truth", "words", "problems", "told")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


def write_csv(desk: Desk, path: str | Path) -> int:
    """Writes all traces of the desk, one in each row, with the decisions so far. Returns how many there are."""
    ids = desk.ids()
    try:
        with open(path, "w", encoding="utf-8-sig", newline="") as file:  # the mark tells Excel that it is UTF-8
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for id in ids:
                seen = desk.view(id)
                row = (
                    id,
                    seen["decision"],
                    seen["answer"],
                    "",
                    "",
                    seen["version"],
                    ", ".join(seen["facts"]),
                    seen["text"],
                    "; ".join(seen["problems"]),
                    seen["history"],
                )
                writer.writerow([guarded(str(cell)) for cell in row])
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return len(ids)


def read_csv(desk: Desk, path: str | Path, by: str = "") -> tuple[Counter, list[str]]:
    """Adds the decisions of a csv to the record: "accepted", "edited" or "rejected".

    An accepted text that was changed counts as edited. Rows without a decision, or with the one that the record has,
    change nothing. by: the reviewer of rows that name none.

    Returns (how many of each kind, a line for each row that was refused, which says why). Raises InputError for a file
    that is not such a csv, before anything is added.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as csv: {getattr(error, 'strerror', None) or error}") from error
    absent = [name for name in ("id", "decision", "version") if rows and name not in rows[0]]
    if absent or not rows:
        what = f"no column {absent[0]}" if rows else "no rows"
        raise InputError(f"{path}: {what}; export it anew and fill it in")
    counts, refused = Counter(), []
    for line, raw in enumerate(rows, 2):
        row = {name: _plain(value or "") for name, value in raw.items() if name}
        verdict = row["decision"].strip().lower()
        if not verdict:
            continue
        where = f"row {line}, {row['id']}"
        if verdict not in VERDICTS:
            refused.append(f"{where}: decision {verdict!r} is none of {', '.join(VERDICTS)}")
            continue
        if row["id"] not in desk.progress.samples:
            refused.append(f"{where}: there is no such trace")
            continue
        seen = desk.view(row["id"])
        answer = row.get("answer", "").replace("\r\n", "\n")
        changed = verdict != "rejected" and answer.strip() and answer.strip() != seen["answer"].strip()
        verdict = "edited" if changed else verdict
        stands = ("accepted", "edited") if verdict != "rejected" else ("rejected",)
        if seen["decision"] in stands and not changed:
            counts["unchanged"] += 1
            continue
        if not row["version"].strip().isdecimal():
            refused.append(f"{where}: version {row['version']!r} is no number; leave that column as it was exported")
            continue
        name = row.get("by", "").strip() or by
        text = answer or seen["answer"]
        result = desk.decide(row["id"], name, verdict, int(row["version"]), text, row.get("reason", ""))
        if result.status == "saved":
            counts[verdict] += 1
        else:
            refused.append(f"{where}: {'; '.join(result.notes)}")
    return counts, refused


def guarded(text: str) -> str:
    """A text as it stands in a csv: with an apostrophe before what a spreadsheet would take for a formula."""
    return "'" + text if text.startswith(_FORMULA) else text


def _plain(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text
