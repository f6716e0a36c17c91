"""Decisions as a csv, for those who have their own tools: out, with a column to fill in, and in again.

A text that a spreadsheet would take for a formula gets an apostrophe before it, which is taken off again on the way in.
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
    """Writes all traces that the desk shows, one a row, decisions as they stand; returns how many."""
    ids = desk.ids()
    try:
        with open(path, "w", encoding="utf-8-sig", newline="") as file:  # the mark tells Excel that it is UTF-8
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for id in ids:
                seen = desk.view(id)
                row = (id, seen["decision"], seen["answer"], "", "", seen["version"], ", ".join(seen["facts"]),
                       seen["text"], "; ".join(seen["problems"]), seen["told"])  # fmt: skip
                writer.writerow([_guarded(str(cell)) for cell in row])
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return len(ids)


def read_csv(desk: Desk, path: str | Path, by: str = "") -> tuple[Counter, list[str]]:
    """Takes over the decisions of a csv: "accepted", "edited" or "rejected"; an accepted text that was changed counts
    as edited. Rows without a decision, or with the one that stands, change nothing. by: for rows without a name.

    Returns (how many of each kind, a line for each row that was not taken, and why). Raises InputError for a file that
    is no such csv, before anything is taken."""
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


def _guarded(text: str) -> str:
    return "'" + text if text.startswith(_FORMULA) else text


def _plain(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:].startswith(_FORMULA) else text
