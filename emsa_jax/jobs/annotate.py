"""Annotation: several people's votes -> labels, what goes back to them, how far they agree, and a split."""
from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emsa_jax.answers.concept_table import ConceptOptions, concept_table
from emsa_jax.answers.labels import SENTIMENTS, sentiment_of
from emsa_jax.data import labels_csv
from emsa_jax.data.annotation.agreement import agreement
from emsa_jax.data.annotation.split import shared_speakers, speaker_split, stratified_split
from emsa_jax.data.annotation.votes import SENTIMENT, Votes, majority, read_votes, score
from emsa_jax.errors import InputError
from emsa_jax.jobs.console import say
from emsa_jax.manifest import write_atomic


@dataclass(frozen=True)
class AnnotateOptions:
    """votes: a csv with the columns item, annotator, field, value (field: sentiment with value -1, 0 or 1, or a concept
    with one of its labels). out: a directory for labels.csv, again.csv and agreement.json.

    majority: votes that a concept's label needs. merge: a JSON file, field -> label -> the label it counts as.
    clips: a csv of the items' other columns, found by `item`, by `id`, or by video_id and clip_id; out/label.csv then
    joins it with the labels, as the reader `ch_cems` wants it.
    split: "stratified" on the five classes, or "speakers", which also keeps each speaker (clips' column `speaker`)
    on one side. seed: of split and intervals. resamples, confidence: of the intervals.
    """

    job: str = "annotate"
    votes: str = ""
    out: str = ""
    majority: int = 3
    merge: str = ""
    clips: str = ""
    split: Literal["stratified", "speakers"] = "stratified"
    seed: int = 0
    resamples: int = 2000
    confidence: float = 0.95
    concepts: ConceptOptions = ConceptOptions()

    def __post_init__(self) -> None:
        if self.majority < 1 or self.resamples < 1:
            raise InputError("majority and resamples must be at least 1")
        if not 0 < self.confidence < 1:
            raise InputError(f"confidence must be between 0 and 1, not {self.confidence}")
        if not 0 <= self.seed < 2**31:
            raise InputError(f"seed must be at least 0 and below 2**31, not {self.seed}")


def annotate(options: AnnotateOptions) -> None:
    """Writes `options.out`; what is in the way of it is told before anything is written."""
    for name in ("votes", "out"):
        if not getattr(options, name):
            raise InputError(f"config.{name}: name {'a csv of votes' if name == 'votes' else 'a directory to write'}")
    votes = read_votes(options.votes, read_merge(options.merge) if options.merge else None)
    _warn_of_labels(votes, options.concepts)
    clips = read_clips(options.clips, votes.items) if options.clips else {}
    speakers = [clips.get(item, {}).get("speaker", "").strip() for item in votes.items]
    rows = labels(votes, options.majority)
    classes = [row["class5"] for row in rows]
    if options.split == "speakers":
        if not any(speakers):
            raise InputError("split: speakers are known only from a column speaker of config.clips")
        splits = speaker_split(classes, speakers, options.seed)
        say("warning: CH-CEMS' official split is not speaker-disjoint, this one is: numbers do not compare")
    else:
        splits = stratified_split(classes, options.seed)
        if common := shared_speakers(splits, speakers):
            say(f"warning: {common} speakers of test stand in train too, as in CH-CEMS' official split; "
                "--config.split=speakers keeps them apart")
    rows = [row | {"split": split} for row, split in zip(rows, splits, strict=True)]
    back = again(votes, options.majority)

    out = Path(options.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"config.out: {out} cannot be made: {error.strerror}") from error
    names = ("item", "score", "class3", "class5", *votes.concepts, "split")
    write_atomic(out / "labels.csv", _csv(names, rows))
    write_atomic(out / "again.csv", _csv(("item", "field", "votes"), back))
    report = agreements(votes, options)
    write_atomic(out / "agreement.json", json.dumps(report, indent=1, ensure_ascii=False).encode() + b"\n")
    if clips:
        columns = list(next(iter(clips.values())))
        added = ("label", "mode", *votes.concepts)
        joined = [clips[row["item"]] | row | {"label": row["score"], "mode": row["split"]} for row in rows]
        write_atomic(out / "label.csv", _csv([*(c for c in columns if c not in added), *added], joined))
    _tell(rows, back, report, out)


def labels(votes: Votes, least: int) -> list[dict[str, str | float]]:
    """A row for each item: its score, classes, and the concepts that have a majority ("" for the others)."""
    rows = []
    for item in votes.items:
        mean = score(votes.votes[SENTIMENT][item])
        row = {"item": item, "score": mean, "class3": sentiment_of(mean, 3), "class5": sentiment_of(mean, 5)}
        rows.append(row | {field: majority(votes.votes[field].get(item, ()), least) or "" for field in votes.concepts})
    return rows


def again(votes: Votes, least: int) -> list[dict[str, str]]:
    """The concepts that go back for another round, with the votes they had. Sentiment never does."""
    rows = []
    for item in votes.items:
        for field in votes.concepts:
            given = votes.votes[field].get(item, ())
            if majority(given, least) is None:
                shown = "; ".join(f"{value}: {n}" for value, n in Counter(given).most_common())
                rows.append({"item": item, "field": field, "votes": shown})
    return rows


def agreements(votes: Votes, options: AnnotateOptions) -> dict[str, dict]:
    """Field -> kappa, its interval, and what they rest on."""
    found = {}
    for field in (SENTIMENT, *votes.concepts):
        counts, values = votes.counts(field)
        of = agreement(counts, options.confidence, options.resamples, options.seed)
        found[field] = {"kappa": of.kappa, "interval": [of.low, of.high], "confidence": options.confidence,
                        "items": of.items, "votes": of.votes, "per_class": dict(zip(values, of.per_class, strict=True))}
    return found


def read_merge(path: str | Path) -> dict[str, dict[str, str]]:
    """{"speaking_style": {"Scientific exposition": "General Narrative Exposition"}} from a JSON file."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"config.merge: {path} cannot be read: {reason}") from error
    fields = content.values() if isinstance(content, dict) else [None]
    if not all(isinstance(table, dict) and all(isinstance(v, str) and v.strip() for v in table.values())
               for table in fields):
        raise InputError(f"config.merge: {path} must be an object of objects: field -> label -> the label it counts as")
    if SENTIMENT in content:
        raise InputError(f"config.merge: {path}: votes on sentiment are numbers, which are averaged, not merged")
    return content


def read_clips(path: str | Path, items: Sequence[str]) -> dict[str, dict[str, str]]:
    """item -> its row. InputError for an item of the votes that has none, or two."""
    found: dict[str, dict[str, str]] = {}
    for where, row in labels_csv.rows(Path(path), ()):
        item = row.get("item") or row.get("id") or (
            f"{row['video_id']}$_${row['clip_id']}" if row.get("video_id") and row.get("clip_id") else "")
        if not item:
            raise InputError(f"{where}: a clip is named by a column item or id, or by video_id and clip_id")
        if item in found:
            raise InputError(f"{where}: {item!r} stands there twice")
        found[item] = row
    absent = [item for item in items if item not in found]
    if absent:
        raise InputError(f"config.clips: {path} has no row for {len(absent)} items of the votes, such as {absent[0]!r}")
    return found


def _warn_of_labels(votes: Votes, options: ConceptOptions) -> None:
    known = {concept.name: concept.labels for concept in concept_table(options)}
    for field in votes.concepts:
        others = {value for given in votes.votes[field].values() for value in given
                  if field in known and known[field].read(value) is None}
        if others:
            say(f"warning: {field} has {len(others)} labels that the table does not know, such as {min(others)!r}; "
                "merge them (config.merge), or name a table that has them (config.concepts.table)")


def _csv(names: Sequence[str], rows: Sequence[Mapping]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _tell(rows: Sequence[Mapping], back: Sequence[Mapping], report: Mapping[str, Mapping], out: Path) -> None:
    for split in ("train", "valid", "test"):
        counts = Counter(row["class5"] for row in rows if row["split"] == split)
        say(f"{split}: {sum(counts.values())} items; " + ", ".join(f"{counts[c]} {c}" for c in SENTIMENTS[5]))
    for field, found in report.items():
        undefined = found["kappa"] is None
        kappa = "undefined" if undefined else "{:.3f} ({:.3f} to {:.3f})".format(found["kappa"], *found["interval"])
        left = sum(row["field"] == field for row in back)
        say(f"{field}: kappa {kappa}" + (f"; {left} items go back" if field != SENTIMENT else ""))
    say(f"labels: {out / 'labels.csv'}")
