"""Annotation: several people's votes -> labels, what goes back to them, how far they agree, and a split."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from emsa_jax.answers.concept_table import concept_table
from emsa_jax.answers.labels import SENTIMENTS, sentiment_of
from emsa_jax.data.annotation.agreement import agreement
from emsa_jax.data.annotation.clips import joined, read_clips, reader_of
from emsa_jax.data.annotation.split import HELD_OUT, shared_speakers, speaker_split, stratified_split
from emsa_jax.data.annotation.votes import SENTIMENT, Votes, majority, read_merge, read_votes, score
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError
from emsa_jax.manifest import write_outputs
from emsa_jax.runtime.console import say
from emsa_jax.settings.job_options import AnnotateOptions


def annotate(options: AnnotateOptions) -> None:
    """Writes `options.out`; what is in the way of it is told before anything is written."""
    for name in ("votes", "out"):
        if not getattr(options, name):
            raise InputError(f"config.{name}: name {'a csv of votes' if name == 'votes' else 'a directory to write'}")
    out = Path(options.out).expanduser()
    _check_places(options, out)
    table = concept_table(options.concepts)
    spellings = {concept.name: concept.labels.read for concept in table}
    merge = read_merge(options.merge, spellings) if options.merge else {}
    votes = read_votes(options.votes, merge, spellings)
    _warn_of_labels(votes, merge, spellings)
    _warn_of_majority(votes, options.majority)
    clips = read_clips(options.clips, votes.items) if options.clips else {}
    rows = labels(votes, options.majority)
    splits = split_of(rows, [clips.get(item, {}).get("speaker", "").strip() for item in votes.items], options)
    rows = [row | {"split": split} for row, split in zip(rows, splits, strict=True)]
    back = again(votes, options.majority)
    report = agreements(votes, options)

    names = ("item", "score", "class3", "class5", *votes.concepts, "split")
    files = {
        "labels.csv": _csv(names, rows),
        "again.csv": _csv(("item", "field", "votes"), back),
        "agreement.json": json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n",
    }
    if clips and not reader_of(clips):
        say(
            "warning: no label.csv is written: for that, config.clips needs the columns video_id, clip_id and text, or "
            "id and any of text, video and audio"
        )
    elif clips:
        files["label.csv"] = _csv(*joined(rows, clips, votes.concepts))
        if left := len(clips) - len(rows):
            say(f"warning: {left} clips without votes are left out of label.csv")
    write_outputs(out, files)
    _tell(rows, back, report, out, reader_of(clips) if clips else None)
    if "label.csv" not in files and (out / "label.csv").exists():
        say(f"warning: {out / 'label.csv'} is of before, and may have another split")


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


def split_of(rows: Sequence[Mapping], speakers: Sequence[str], options: AnnotateOptions) -> list[str]:
    """The split of each row, and what is to be known of it on the screen. speakers: "" where unknown."""
    classes = [row["class5"] for row in rows]
    if options.split == "speakers":
        if not any(speakers):
            raise InputError("split: speakers are known only from a column speaker of config.clips")
        if nameless := [row["item"] for row, speaker in zip(rows, speakers, strict=True) if not speaker]:
            raise InputError(f"config.clips: item {nameless[0]!r} has no speaker; name all of them")
        splits = speaker_split(classes, speakers, options.seed)
        say("warning: CH-CEMS' official split is not speaker-disjoint, this one is: numbers do not compare")
    else:
        splits = stratified_split(classes, options.seed)
        if common := shared_speakers(splits, speakers):
            say(
                f"warning: {common} speakers of test stand in train too, as in CH-CEMS' official split; "
                "--config.split=speakers keeps them apart"
            )
    shares = {split: splits.count(split) / len(splits) for split in SPLITS[1:]}
    if any(abs(share - HELD_OUT) > 0.05 for share in shares.values()):
        say(
            "warning: "
            + " and ".join(f"{split} is {share:.0%}" for split, share in shares.items())
            + f" of the items, not {HELD_OUT:.0%}: there are too few items or speakers"
        )
    return splits


def agreements(votes: Votes, options: AnnotateOptions) -> dict[str, dict]:
    """Field -> kappa, its interval, and what they rest on."""
    found = {}
    for field in (SENTIMENT, *votes.concepts):
        counts, values = votes.counts(field)
        of = agreement(counts, options.confidence, options.resamples, options.seed)
        found[field] = {
            "kappa": of.kappa,
            "interval": [of.low, of.high],
            "confidence": options.confidence,
            "items": of.items,
            "votes": of.votes,
            "per_class": dict(zip(values, of.per_class, strict=True)),
        }
    return found


def _check_places(options: AnnotateOptions, out: Path) -> None:
    """Raises InputError for a file that is not there, or over which something would be written."""
    for field in ("votes", "clips", "merge"):
        path = Path(getattr(options, field))
        if getattr(options, field) and not path.exists():
            raise InputError(f"config.{field}: there is no file {path}")
        for name in ("labels.csv", "again.csv", "agreement.json", "label.csv"):
            if path.is_file() and (out / name).exists() and path.samefile(out / name):
                raise InputError(
                    f"config.out: {out / name} would be written over config.{field}; name another directory"
                )


def _warn_of_labels(votes: Votes, merge: Mapping[str, Mapping[str, str]], spellings: Mapping[str, Callable]) -> None:
    for field in votes.concepts:
        values = {value for given in votes.votes[field].values() for value in given}
        if field not in spellings:
            say(f"warning: {field} is no concept of the table ({', '.join(spellings)}); its labels stay as they are")
        elif others := {value for value in values if spellings[field](value) is None}:
            say(
                f"warning: {field} has {len(others)} labels that the table does not know, such as {min(others)!r}; "
                "merge them (config.merge), or name a table that has them (config.concepts.table)"
            )
    for field in merge.keys() - set(votes.concepts):
        say(f"warning: config.merge names {field}, on which nobody has voted")


def _warn_of_majority(votes: Votes, least: int) -> None:
    for field in votes.concepts:
        most = max(map(len, votes.votes[field].values()))
        if most < least:
            say(
                f"warning: no item has more than {most} votes on {field}, and a label needs {least}: all go back; set "
                "config.majority"
            )


def _csv(names: Sequence[str], rows: Sequence[Mapping]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _tell(
    rows: Sequence[Mapping], back: Sequence[Mapping], report: Mapping[str, Mapping], out: Path, reader: str | None
) -> None:
    for split in ("train", "valid", "test"):
        counts = Counter(row["class5"] for row in rows if row["split"] == split)
        say(f"{split}: {sum(counts.values())} items; " + ", ".join(f"{counts[c]} {c}" for c in SENTIMENTS[5]))
    for field, found in report.items():
        undefined = found["kappa"] is None
        kappa = "undefined" if undefined else "{:.3f} ({:.3f} to {:.3f})".format(found["kappa"], *found["interval"])
        left = sum(row["field"] == field for row in back)
        say(f"{field}: kappa {kappa}" + (f"; {left} items go back" if field != SENTIMENT else ""))
    say(f"labels: {out / 'labels.csv'}")
    if reader:
        say(f"the set: {out / 'label.csv'}, for --config.dataset={reader}")
