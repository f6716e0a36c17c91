"""Real sentences and real voices as tables of clips, with traces that are templates filled in from the label.

The traces teach the form of an answer; about why somebody is judged so they know nothing but the label's strength.
RAVDESS: speakers 1-14 train, 15-16 validate, 17-20 judge; polarity is that of the acted emotion. CMU-MOSI and CH-SIMS
v2: official splits; of the latter its English translations.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from emsa_jax.answers.labels import polarity_of

EMOTIONS = {
    1: ("neutral", 0),
    2: ("calm", 0),
    3: ("happy", 1),
    4: ("sad", -1),
    5: ("angry", -1),
    6: ("fearful", -1),
    7: ("disgusted", -1),
    8: ("surprised", None),  # which has no polarity
}
STATEMENTS = {1: "Kids are talking by the door", 2: "Dogs are sitting by the door"}
FIELDS = ("id", "text", "label", "mode", "video", "audio")
STRENGTHS = ("neutral", "slightly", "clearly", "strongly")


def write_table(path: Path, rows: Iterable[dict]) -> Path:
    """A csv of clips. Rows with a "think" have a trace in the traces.jsonl beside it."""
    rows = list(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    traces = [
        dict(id=row["id"], polarity=polarity_of(row["label"]), score=row["label"], think=row["think"])
        for row in rows
        if row.get("think")
    ]
    lines = "".join(json.dumps(trace, ensure_ascii=False) + "\n" for trace in traces)
    (path.parent / "traces.jsonl").write_text(lines, encoding="utf-8")
    return path


def ravdess(data: Path, words: bool = False) -> Iterator[dict]:
    """Rows of data/audio/ravdess/Actor_XX/03-01-EMOTION-INTENSITY-STATEMENT-REPETITION-ACTOR.flac. words: with what is
    said in them."""
    for path in sorted(data.glob("audio/ravdess/Actor_*/*.flac")):
        _, _, emotion, intensity, statement, _, actor = map(int, path.stem.split("-"))
        name, label = EMOTIONS[emotion]
        if label is None:
            continue
        mode = "train" if actor <= 14 else "valid" if actor <= 16 else "test"
        think = f"1. voice: {'strongly' if intensity == 2 else 'plainly'} {name}." if mode == "train" else ""
        text = STATEMENTS[statement] if words else ""
        yield dict(id=path.stem, text=text, label=label, mode=mode, video="", audio=path, think=think)


def mosi(data: Path, scale: float = 1.0) -> Iterator[dict]:
    """Rows of data/text/mosi_label.csv. scale: of the labels, which lie in [-3, 3]."""
    for row in _labels(data / "text" / "mosi_label.csv"):
        label = float(row["label"])
        strength = STRENGTHS[min(3, round(abs(label)))]
        sign = "" if strength == "neutral" else " positive" if label > 0 else " negative"
        think = f"1. words: {strength}{sign}." if row["mode"] == "train" else ""
        yield _words(row, row["text"], label * scale, think)


def simsv2_in_english(data: Path) -> Iterator[dict]:
    """The test rows of data/text/simsv2_label.csv, as they were translated."""
    for row in _labels(data / "text" / "simsv2_label.csv"):
        if row["mode"] == "test" and row["text_other"].strip():
            yield _words(row, row["text_other"], float(row["label"]), "")


def _labels(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def _words(row: dict[str, str], text: str, label: float, think: str) -> dict:
    id = f"{row['video_id']}_{row['clip_id']}"
    return dict(id=id, text=text, label=label, mode=row["mode"], video="", audio="", think=think)
