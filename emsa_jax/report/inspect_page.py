"""The page of `inspect`: what a prepared set holds, in counts, charts and samples to see and hear."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from emsa_jax.data.facts import Facts
from emsa_jax.data.mel import SAMPLE_RATE
from emsa_jax.data.records import Clip, Entry, Manifest
from emsa_jax.report.charts import histogram, loudness, waveform
from emsa_jax.report.findings_table import class_table, note_table, reason_table
from emsa_jax.report.page import jpeg_uri, render, sound_uri, template
from emsa_jax.report.summary import UNLABELLED, Table, class_of
from emsa_jax.report.svg import round_step

STRIP_FRAMES, FRAME_HEIGHT = 24, 128  # of a clip, at most; pixels
PLAYED_SECONDS = 60  # of a clip, at most: pages are mailed around


def inspect_page(
    manifest: Manifest,
    facts: Facts,
    entries: Sequence[Entry],
    counts: Mapping[str, Any],
    clips: Iterable[tuple[Clip, np.ndarray]],
) -> bytes:
    """The page, as UTF-8 HTML.

    facts: of the data set. entries: all of the set. counts: as the job prints them: `summarize`, "dataset" and
    "quarantined". clips: the samples to show, each with its sound, int16 [n] at 16 kHz.
    """
    total, media, (low, high) = sum(counts["samples"].values()), counts["media"], manifest.score_range
    intro = (
        f"{total:,} clips, {_clock(counts['seconds'])} of media; scores from {low:g} to {high:g}; "
        f"{media['video']:,} with frames, {media['audio']:,} with sound, {media['text']:,} with words"
    )
    made = {
        "schema": manifest.schema,
        "digest": manifest.digest,
        "length buckets in tokens": ", ".join(map(str, manifest.boundaries)) or "not known",
        **manifest.options,
        **manifest.software,
    }
    return render(
        template("inspect.html"),
        f"{facts.title if counts['dataset'] else 'A prepared set'}: what the records hold",
        template("inspect.css"),
        template("inspect.js"),
        intro=intro,
        known=[("licence", facts.licence), *(("note", note) for note in facts.notes)] if counts["dataset"] else [],
        total=total,
        counts=counts,
        tables=_tables(counts),
        charts=_charts(manifest.score_range, entries),
        lengths=_lengths(manifest.quantiles),
        cards=[_card(clip, pcm) for clip, pcm in clips],
        quarantined=manifest.quarantined,
        said=manifest.findings.get("said", []),
        found=_findings(manifest.findings),
        made=made,
    )


def _tables(counts: Mapping[str, Any]) -> list[tuple[str, list[str], list[tuple[str, list[str]]]]]:
    """(caption, column names, rows) of the counts; each official number stands right of the one it is for."""
    official = counts["official"]
    sizes = [(split, _cells(n, official["samples"] or None, split)) for split, n in counts["samples"].items()]
    tables = [("Clips in each split", ["split", "clips", "official"][: 1 + len(sizes[0][1])], sizes)]
    scored = any(n for column in counts["polarity"].values() for sign, n in column.items() if sign != UNLABELLED)
    if scored or not counts["labels"]["train"]:
        tables.append(_table("Polarity, by the score's sign", counts["polarity"], official["polarity"]))
    if counts["labels"]["train"]:
        tables.append(_table("Classes, as the data set names them", counts["labels"], official["labels"]))
    return tables + [_table(name, table, {}) for name, table in counts["concepts"].items()]


def _table(
    caption: str, table: Table, official: Mapping[str, Mapping[str, int]]
) -> tuple[str, list[str], list[tuple[str, list[str]]]]:
    values = next(iter(table.values()))
    table = {**table, "all": {value: sum(column[value] for column in table.values()) for value in values}}
    names = [name for split in table for name in (split, "official")[: 1 + (split in official)]]
    rows = [
        (value, [cell for split in table for cell in _cells(table[split][value], official.get(split), value)])
        for value in values
    ]
    return caption, ["class", *names], rows


def _cells(n: int, official: Mapping[str, int] | None, value: str) -> list[str]:
    """A count, and the official one if there are such, with what the set has more or less."""
    if official is None:
        return [f"{n:,}"]
    if value not in official:
        return [f"{n:,}", "-"]
    more = n - official[value]
    return [
        f"{n:,}",
        Markup("{:,} <strong>({:+,})</strong>").format(official[value], more) if more else f"{official[value]:,}",
    ]


def _lengths(quantiles: Mapping[str, Mapping[str, float]]) -> tuple[str, list[str], list[tuple[str, list[str]]]]:
    """(caption, column names, rows) of the manifest's quantiles."""
    named = {"text": "characters of words", "mel_frames": "frames of the log-mel"}
    shares = [f"{100 * float(fraction):g}%" for fraction in quantiles["seconds"]]
    rows = [(named.get(name, name), [f"{value:.6g}" for value in row.values()]) for name, row in quantiles.items()]
    return "Lengths that this share of the clips does not exceed", ["length", *shares], rows


def _findings(findings: Mapping[str, Any]) -> list[tuple[str, list[str], list[tuple[str, list[str]]]]]:
    """The tables of what was found out when the set was prepared, without those that are empty."""
    if not findings:
        return []
    return [table for make in (class_table, reason_table, note_table) if (table := make(findings))[2]]


def _charts(score_range: tuple[float, float], entries: Sequence[Entry]) -> list[Markup]:
    scores = [e.score for e in entries if e.score is not None]
    seconds = [e.seconds for e in entries if e.seconds]
    characters = [len(e.text) for e in entries if e.text]
    charts = [histogram(seconds, "Duration", "seconds")] if seconds else []
    charts += [histogram(characters, "Words", "characters", whole=True)] if characters else []
    step = round_step(score_range[1] - score_range[0], 30)  # falls on the grids of the field: 0.1 or 0.2
    return charts + ([histogram(scores, "Score", "score", score_range, step, centred=True)] if scores else [])


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def _card(clip: Clip, pcm: np.ndarray) -> dict[str, Any]:
    """What the template shows of a clip; all texts are still as the data has them."""
    total = len(clip.frames)
    strip = np.unique(np.round(np.linspace(0, total - 1, STRIP_FRAMES)).astype(int)) if total else []
    played = pcm[: PLAYED_SECONDS * SAMPLE_RATE]
    score = [] if clip.score is None else [f"score {clip.score:g}"]
    named = {"label": clip.label, "speaker": clip.speaker, "language": clip.language}
    notes = [f"{total} frames, {clip.frames.shape[2]} x {clip.frames.shape[1]} pixels" if total else "no frames"]
    if len(strip) < total:
        notes.append(f"{len(strip)} of them are shown")
    notes.append(f"{len(pcm) / SAMPLE_RATE:.2f} s of sound, {loudness(pcm)}" if len(pcm) else "no sound")
    if len(played) < len(pcm):
        notes.append(f"the first {PLAYED_SECONDS} s can be played")
    return {
        "id": clip.id,
        "facts": [clip.split, class_of(clip), *score, *(f"{name} {value}" for name, value in named.items() if value)],
        "seconds": f"{total / clip.frame_rate if total else 0:.3f}",
        "frames": [(jpeg_uri(clip.frames[i], FRAME_HEIGHT), f"frame {i + 1} of {total}") for i in strip],
        "sound": sound_uri(played, SAMPLE_RATE) if len(pcm) else "",
        "wave": waveform(played) if len(pcm) else "",
        "notes": notes,
        "text": clip.text.strip(),
        "language": clip.language,
        "concepts": [*clip.concepts, *([("reasoning", clip.reasoning)] if clip.reasoning else [])],
    }
