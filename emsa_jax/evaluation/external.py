"""Predictions from anyone else: a csv of id and pred, held against the clips of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emsa_jax.answers.labels import FIVE_EDGES, polarity_of
from emsa_jax.data import labels_csv
from emsa_jax.data.records import Entry
from emsa_jax.data.sample import Sample
from emsa_jax.data.views import modalities
from emsa_jax.errors import InputError
from emsa_jax.evaluation.breakdowns import about
from emsa_jax.evaluation.predictions import SIGNS, summarize, summarize_labels

FIVE = ("Negative", "Weakly Negative", "Neutral", "Weakly Positive", "Positive")


@dataclass(frozen=True)
class Given:
    """cells: id -> (where it stands, text), every id of the file once."""

    cells: Mapping[str, tuple[str, str]]

    @property
    def are_scores(self) -> bool:
        """Whether the first prediction that is not empty is a number."""
        first = next((cell for _, cell in self.cells.values() if cell), "0")
        try:
            float(first)
        except ValueError:
            return False
        return True


def read_given(path: Path) -> Given:
    """The predictions of a csv with columns id and pred. InputError naming the line of an id that stands twice,
    and for a file without any."""
    cells: dict[str, tuple[str, str]] = {}
    for where, row in labels_csv.rows(path, ("id", "pred")):
        if row["id"] in cells:
            raise InputError(f"{where}: id {row['id']!r} was already given at {cells[row['id']][0]}")
        cells[row["id"]] = where, row["pred"].strip()
    if not cells:
        raise InputError(f"{path} has no predictions")
    return Given(cells)


def entry_of(sample: Sample) -> Entry:
    """A raw clip as an entry of an index, without anything that decoding its media would tell."""
    return Entry(
        id=sample.id,
        text=sample.text,
        score=sample.score,
        split=sample.split,
        language=sample.language,
        num_frames=0,
        height=0,
        width=0,
        frame_rate=0.0,
        mel_frames=0,
        label=sample.label,
        concepts=sample.concepts,
        speaker=sample.speaker,
        reasoning=sample.reasoning,
    )


def score_given(
    given: Given,
    entries: Sequence[Entry],
    *,
    score_range: tuple[float, float],
    classes: Sequence[str],
    fallback: str,
    neutral_eps: float,
    train_scores: Sequence[float],
    resamples: int,
) -> tuple[dict, list[dict]]:
    """(what `summarize` or `summarize_labels` say, one row a clip). A clip that is not in the file is unparsed.

    classes: of the data set's own labels, in order; () where it has scores alone, whose classes are then the three
    polarities, or the five of CH-SIMS where the file names one of these."""
    if given.are_scores and any(entry.score is not None for entry in entries):
        rows = [prediction_row(entry, _score(given, entry.id), neutral_eps) for entry in entries]
        return summarize(rows, score_range, fallback, neutral_eps, train_scores, resamples), rows
    names, truth = _classes(given, entries, score_range, classes, neutral_eps)
    known = [i for i, true in enumerate(truth) if true >= 0]
    pred = [_class(given, entry.id, names) for entry in entries]
    result = summarize_labels([pred[i] for i in known], [truth[i] for i in known], names, resamples)
    rows = [
        {
            "id": entry.id,
            "text": entry.text,
            "target": entry.score,
            "about": about(entry),
            "target_label": names[true] if true >= 0 else None,
            "label": names[guess] if guess >= 0 else None,
        }
        for entry, true, guess in zip(entries, truth, pred, strict=True)
    ]
    return result, rows


def prediction_row(entry: Entry, score: float | None, neutral_eps: float) -> dict:
    """A predicted score, None where it is unread, as a row of predictions.jsonl."""

    def polarity(value: float | None) -> str | None:
        return None if value is None else polarity_of(value, neutral_eps)

    return {
        "id": entry.id,
        "text": entry.text,
        "target": entry.score,
        "target_polarity": polarity(entry.score),
        "polarity": polarity(score),
        "score": score,
        "about": about(entry),
        "seconds": round(entry.seconds, 2),
        "shown": list(modalities(entry)),
    }


def _score(given: Given, id: str) -> float | None:
    where, cell = given.cells.get(id, ("", ""))
    try:
        number = float(cell) if cell else np.nan
    except ValueError:
        raise InputError(f"{where}: pred {cell[:40]!r} is no number; leave it empty if it is unparsed") from None
    if abs(number) > float(np.finfo(np.float32).max):
        raise InputError(f"{where}: pred {cell[:40]!r} is not finite")
    return None if np.isnan(number) else float(np.float32(number))


def _classes(
    given: Given, entries: Sequence[Entry], score_range: tuple[float, float], classes: Sequence[str], neutral_eps: float
) -> tuple[Sequence[str], list[int]]:
    """(names of the classes, true class of each clip or -1)."""
    if any(entry.label for entry in entries):
        names = classes or sorted({entry.label for entry in entries if entry.label})
        return names, [names.index(entry.label) if entry.label in names else -1 for entry in entries]
    if not any(cell.lower().startswith("weakly") for _, cell in given.cells.values()):
        return SIGNS, [-1 if e.score is None else SIGNS.index(polarity_of(e.score, neutral_eps)) for e in entries]
    if tuple(score_range) != (-1.0, 1.0):
        raise InputError("the five classes of CH-SIMS are those of scores in [-1, 1]; give scores instead")
    return FIVE, [-1 if e.score is None else int(np.searchsorted(FIVE_EDGES, np.float32(e.score))) for e in entries]


def _class(given: Given, id: str, names: Sequence[str]) -> int:
    where, cell = given.cells.get(id, ("", ""))
    if cell in ("", "-1"):
        return -1
    known = {name.lower(): i for i, name in enumerate(names)} | {str(i): i for i in range(len(names))}
    if cell.lower() not in known:
        raise InputError(f"{where}: pred {cell[:40]!r} is none of {', '.join(names)}; leave it empty if it is unparsed")
    return known[cell.lower()]
