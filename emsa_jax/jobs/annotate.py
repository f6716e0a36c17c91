"""Annotation: several people's votes -> labels, what goes back to them, how far they agree, and a split."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from emsa_jax.answers.concept_table import concept_table
from emsa_jax.answers.labels import SENTIMENTS, sentiment_of
from emsa_jax.data.annotation.clips import joined, read_clips, reader_of
from emsa_jax.data.annotation.outcome import agreements, label_rows, returned_rows, split_rows, vote_warnings
from emsa_jax.data.annotation.votes import SENTIMENT, read_merge, read_votes
from emsa_jax.errors import InputError
from emsa_jax.manifest import write_outputs
from emsa_jax.runtime.console import say
from emsa_jax.settings.job_options import AnnotateOptions

WRITTEN = ("labels.csv", "again.csv", "agreement.json", "label.csv")


def annotate(options: AnnotateOptions) -> None:
    """Writes `options.out`. Raises InputError, before anything is written, for what is in its way."""
    for name in ("votes", "out"):
        if not getattr(options, name):
            raise InputError(f"config.{name}: name {'a csv of votes' if name == 'votes' else 'a directory to write'}")
    out = Path(options.out).expanduser()
    _check_places(options, out)
    spellings = {concept.name: concept.labels.read for concept in concept_table(options.concepts)}
    merge = read_merge(options.merge, spellings) if options.merge else {}
    votes = read_votes(options.votes, merge, spellings)
    _warn(vote_warnings(votes, merge, spellings, options.majority))
    clips = read_clips(options.clips, votes.items) if options.clips else {}
    rows = label_rows(votes, options.majority, sentiment_of)
    speakers = [clips.get(item, {}).get("speaker", "").strip() for item in votes.items]
    splits, notes = split_rows(rows, speakers, options.split, options.seed)
    _warn(notes)
    rows = [row | {"split": split} for row, split in zip(rows, splits, strict=True)]
    returned = returned_rows(votes, options.majority)
    kappas = agreements(votes, options.confidence, options.resamples, options.seed)

    names = ("item", "score", "class3", "class5", *votes.concepts, "split")
    files = {
        "labels.csv": _csv(names, rows),
        "again.csv": _csv(("item", "field", "votes"), returned),
        "agreement.json": json.dumps(kappas, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n",
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
    _report(rows, returned, kappas)
    say(f"labels: {out / 'labels.csv'}")
    if clips and (reader := reader_of(clips)):
        say(f"the set: {out / 'label.csv'}, for --config.dataset={reader}")
    if "label.csv" not in files and (out / "label.csv").exists():
        say(f"warning: {out / 'label.csv'} is of before, and may have another split")


def _check_places(options: AnnotateOptions, out: Path) -> None:
    """Raises InputError for a file that does not exist, or over which something would be written."""
    for field in ("votes", "clips", "merge"):
        path = Path(getattr(options, field))
        if getattr(options, field) and not path.exists():
            raise InputError(f"config.{field}: there is no file {path}")
        for name in WRITTEN:
            if path.is_file() and (out / name).exists() and path.samefile(out / name):
                raise InputError(
                    f"config.out: {out / name} would be written over config.{field}; name another directory"
                )


def _warn(notes: Sequence[str]) -> None:
    for note in notes:
        say(f"warning: {note}")


def _csv(names: Sequence[str], rows: Sequence[Mapping]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _report(rows: Sequence[Mapping], returned: Sequence[Mapping], kappas: Mapping[str, Mapping]) -> None:
    for split in ("train", "valid", "test"):
        counts = Counter(row["class5"] for row in rows if row["split"] == split)
        say(f"{split}: {sum(counts.values())} items; " + ", ".join(f"{counts[c]} {c}" for c in SENTIMENTS[5]))
    for field, found in kappas.items():
        undefined = found["kappa"] is None
        kappa = "undefined" if undefined else "{:.3f} ({:.3f} to {:.3f})".format(found["kappa"], *found["interval"])
        left = sum(row["field"] == field for row in returned)
        say(f"{field}: kappa {kappa}" + (f"; {left} items go back" if field != SENTIMENT else ""))
