"""What an evaluation leaves on disk: predictions.jsonl, one row a clip, and metrics.json."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emsa_jax.errors import InputError
from emsa_jax.json_file import finite_json, read_json_rows
from emsa_jax.manifest import write_together
from emsa_jax.parallel import processes


def write_result(out: Path, result: dict, rows: list[dict]) -> None:
    """Writes both files into a directory, from process 0. rows: one a clip. Numbers that are not finite become null."""
    if not processes.is_main():
        return
    out.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(finite_json(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_together(
        out,
        {
            "predictions.jsonl": lines.encode("utf-8", "surrogatepass"),
            "metrics.json": json.dumps(finite_json(result), indent=1, allow_nan=False).encode() + b"\n",
        },
    )


def read_predictions(path: Path) -> list[dict[str, Any]]:
    """The rows of a predictions.jsonl, checked as far as anybody reads them.

    Raises InputError naming the file and the line of a row that an evaluation cannot have written."""
    advice = "evaluate or score again"
    rows, ids = read_json_rows(path, advice), set()
    for number, row in enumerate(rows, 1):
        wrong = next((name for name, fits in _FIELDS.items() if name in row and not fits(row[name])), None)
        wrong = wrong or next((name for name in _NEEDED if name not in row), None)
        if wrong is None and row["id"] in ids:
            wrong = "id"
        if wrong is not None:
            raise InputError(f"{path}, line {number} is damaged (its {wrong}); {advice}")
        ids.add(row["id"])
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, value.values()))


_NEEDED = ("id", "target", "about")
_FIELDS: dict[str, Callable[[Any], bool]] = {
    "id": _is_text,
    "about": _texts,
    "text": _or_none(_is_text),
    "answer": _or_none(_is_text),
    "rewards": lambda value: isinstance(value, Mapping) and all(map(_or_none(_is_number), value.values())),
    "sampled_rewards": lambda value: isinstance(value, list) and all(map(_or_none(_is_number), value)),
    "concepts": _texts,
    "target_concepts": _texts,
    **dict.fromkeys(("target", "score"), _or_none(_is_number)),
    **dict.fromkeys(
        ("polarity", "target_polarity", "label", "target_label", "sentiment", "target_sentiment"), _or_none(_is_text)
    ),
}
