"""The other columns of the items that were voted on, and both joined."""

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
        item = (row.get("item") or row.get("id") or (
            f"{row['video_id']}$_${row['clip_id']}" if row.get("video_id") and row.get("clip_id") else "")).strip()
        if not item:
            raise InputError(f"{where}: a clip is named by a column item or id, or by video_id and clip_id")
        if item in found:
            raise InputError(f"{where}: {item!r} stands there twice")
        found[item] = row
    absent = [item for item in items if item not in found]
    if absent:
        raise InputError(f"config.clips: {path} has no row for {len(absent)} items of the votes, such as {absent[0]!r}")
    return found


def lacking(clips: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The columns without which no reader takes them."""
    columns = next(iter(clips.values()))
    return [name for name in NEEDED if name not in (*columns, "label", "mode")]


def joined(rows: Sequence[Mapping], clips: Mapping[str, Mapping[str, str]], concepts: Sequence[str]
           ) -> tuple[list[str], list[dict]]:
    """(columns, rows) of the items' clips and labels, as the reader `ch_cems` takes them."""
    columns = list(next(iter(clips.values())))
    added = ("label", "mode", *dict.fromkeys((*concepts, *(c for c in ANNOTATED if c not in columns))))
    found = [clips[row["item"]] | row | {"label": row["score"], "mode": row["split"]} for row in rows]
    return [*(c for c in columns if c not in added), *added], found
