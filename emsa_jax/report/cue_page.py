"""The page of `cues`: of each clip, predicted cues beside the gold ones that they are scored by, and the clip."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emsa_jax.data.mel import SAMPLE_RATE
from emsa_jax.data.records import RecordSource, read_index, unpack, unpack_pcm
from emsa_jax.data.sample import SPLITS
from emsa_jax.report.page import jpeg_uri, render, sound_uri, template

MOST = 60  # clips on a page
UNMATCHED = 0.5  # a cue whose nearest one has a smaller cosine is marked
FRAMES, HEIGHT = 4, 112


def cue_page(rows: Sequence[Mapping[str, Any]], intro: str, media: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The page, as UTF-8 HTML, of the first `MOST` clips.

    rows: as `cues.pairs.pairs_of` gives them. media: clip -> {"frames", "sound", "text"}, of those that are at hand."""
    clips = list(dict.fromkeys(row["clip"] for row in rows))
    shown = [
        {"id": clip, "media": media.get(clip), "rows": [_shown(row) for row in rows if row["clip"] == clip]}
        for clip in clips[:MOST]
    ]
    if len(clips) > MOST:
        intro += f" The first {MOST} of {len(clips)} clips are shown."
    marked = f"A cue without a cue of the other side, or with a cosine below {UNMATCHED:g}, is marked."
    return render(template("cues.html"), "Cues", template("cues.css"), intro=f"{intro} {marked}", clips=shown)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    found = row["cosine"]
    state = "dropped" if row["dropped"] else "unmatched" if found is None or found < UNMATCHED else "matched"
    return {**row, "state": state, "cosine": "" if found is None else f"{found:.2f}", "nearest": row["nearest"] or ""}


def media_of_records(directory: str | Path, clips: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Clip -> {"frames" (data URIs), "sound" (a data URI, "" for none), "text"} of clips that a directory of records
    holds. Raises InputError for one that cannot be read."""
    wanted, found = set(list(clips)[:MOST]), {}
    for split in SPLITS:
        entries = read_index(directory, split)
        source = RecordSource(directory, split) if any(entry.id in wanted for entry in entries) else ()
        for place, entry in enumerate(entries):
            if entry.id in wanted:
                clip, pcm = unpack(source[place]), unpack_pcm(source[place])
                some = np.unique(np.linspace(0, len(clip.frames) - 1, FRAMES).astype(int)) if len(clip.frames) else []
                found[entry.id] = {
                    "frames": [jpeg_uri(clip.frames[i], HEIGHT) for i in some],
                    "sound": sound_uri(pcm, SAMPLE_RATE, "MP3") if len(pcm) else "",
                    "text": clip.text,
                }
    return found
