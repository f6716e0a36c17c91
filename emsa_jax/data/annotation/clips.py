"""The other columns of the items that were voted on, and both joined."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from emsa_jax.data import labels_csv
from emsa_jax.data.readers.ch_cems import ANNOTATED
from emsa_jax.data.readers.mmsa import NEEDED
from emsa_jax.errors import InputError


def read_clips(path: str | Path, items: Sequence[str]) -> dict[str, dict[str, str]]:
    """item -> its row. InputError for an item of the votes that has none, or two."""
    found: dict[str, dict[str, str]] = {}
    for where, row in labels_csv.rows(Path(path), ()):
        item = (
            row.get("item")
            or row.get("id")
            or (f"{row['video_id']}$_${row['clip_id']}" if row.get("video_id") and row.get("clip_id") else "")
        ).strip()
        if not item:
            raise InputError(f"{where}: a clip is named by a column item or id, or by video_id and clip_id")
        if item in found:
            raise InputError(f"{where}: {item!r} stands there twice")
        found[item] = row
    absent = [item for item in items if item not in found]
    if absent:
        raise InputError(f"config.clips: {path} has no row for {len(absent)} items of the votes, such as {absent[0]!r}")
    return found


def reader_of(clips: Mapping[str, Mapping[str, str]]) -> str | None:
    """The reader that takes label.csv: "ch_cems" for clips with video_id, clip_id and text, "plain" for those with id
    and any of text, video and audio; None for others."""
    columns = set(next(iter(clips.values())))
    if set(NEEDED) <= columns | {"label", "mode"}:
        return "ch_cems"
    return "plain" if "id" in columns and columns & {"text", "video", "audio"} else None


def joined(
    rows: Sequence[Mapping], clips: Mapping[str, Mapping[str, str]], concepts: Sequence[str]
) -> tuple[list[str], list[dict]]:
    """(columns, rows) of label.csv: the clips' columns, label and mode, and the concepts: those of CH-CEMS in columns
    of their own where `ch_cems` reads them, all others together in the column `concepts`."""
    columns = list(next(iter(clips.values())))
    named = ANNOTATED if reader_of(clips) == "ch_cems" else ()
    others = [name for name in concepts if name not in named]
    added = ("label", "mode", *named, *(("concepts",) if others else ()))
    found = []
    for row in rows:
        found.append(clips[row["item"]] | row | {"label": row["score"], "mode": row["split"]})
        if others:
            cell = {name: row[name] for name in others if row[name]}
            found[-1]["concepts"] = json.dumps(cell, ensure_ascii=False) if cell else ""
    return [*(c for c in columns if c not in added), *added], found
