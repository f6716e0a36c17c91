"""What an evaluation leaves on disk: predictions.jsonl, one row a clip, and metrics.json."""

from __future__ import annotations

import json
from pathlib import Path

from emsa_jax.manifest import write_together
from emsa_jax.parallel import processes


def write_result(out: Path, result: dict, rows: list[dict]) -> None:
    """Writes both files into a directory, from process 0. rows: one a clip."""
    if not processes.is_main():
        return
    out.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_together(
        out,
        {
            "predictions.jsonl": lines.encode("utf-8", "surrogatepass"),
            "metrics.json": json.dumps(result, indent=1).encode() + b"\n",
        },
    )
