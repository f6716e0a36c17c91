"""What votes come to: the labels of each item, what goes back to the annotators, their agreement, and a split."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from emsa_jax.data.annotation.agreement import agreement
from emsa_jax.data.annotation.split import HELD_OUT, shared_speakers, speaker_split, stratified_split
from emsa_jax.data.annotation.votes import SENTIMENT, Votes, majority, score
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError

Spellings = Mapping[str, Callable[[str], str | None]]
"""Concept -> how a label of it is read: its spelling in the table, None for an unknown one."""


def label_rows(votes: Votes, least: int, sentiment_of: Callable[[float, int], str]) -> list[dict[str, str | float]]:
    """A row for each item: its score, its classes, and the concepts that have a majority ("" for the others).

    least: votes that a label needs. sentiment_of(score, classes): the name of a score's class."""
    rows = []
    for item in votes.items:
        mean = score(votes.votes[SENTIMENT][item])
        row = {"item": item, "score": mean, "class3": sentiment_of(mean, 3), "class5": sentiment_of(mean, 5)}
        rows.append(row | {field: majority(votes.votes[field].get(item, ()), least) or "" for field in votes.concepts})
    return rows


def returned_rows(votes: Votes, least: int) -> list[dict[str, str]]:
    """The concepts that go back for another round, with the votes they had. Sentiment never does."""
    rows = []
    for item in votes.items:
        for field in votes.concepts:
            given = votes.votes[field].get(item, ())
            if majority(given, least) is None:
                counts = "; ".join(f"{value}: {n}" for value, n in Counter(given).most_common())
                rows.append({"item": item, "field": field, "votes": counts})
    return rows


def agreements(votes: Votes, confidence: float, resamples: int, seed: int) -> dict[str, dict]:
    """Field -> kappa, its interval, and the votes behind it. resamples: of the bootstrap; confidence: of intervals."""
    found = {}
    for field in (SENTIMENT, *votes.concepts):
        counts, values = votes.counts(field)
        of = agreement(counts, confidence, resamples, seed)
        found[field] = {
            "kappa": of.kappa,
            "interval": [of.low, of.high],
            "confidence": confidence,
            "items": of.items,
            "votes": of.votes,
            "per_class": dict(zip(values, of.per_class, strict=True)),
        }
    return found


def split_rows(rows: Sequence[Mapping], speakers: Sequence[str], kind: str, seed: int) -> tuple[list[str], list[str]]:
    """(the split of each row, warnings). speakers: "" where unknown. kind: "stratified" or "speakers".

    Raises InputError if a split by speakers is wanted and a speaker is unknown."""
    classes, notes = [row["class5"] for row in rows], []
    if kind == "speakers":
        if not any(speakers):
            raise InputError("split: speakers are known only from a column speaker of config.clips")
        if nameless := [row["item"] for row, speaker in zip(rows, speakers, strict=True) if not speaker]:
            raise InputError(f"config.clips: item {nameless[0]!r} has no speaker; name all of them")
        splits = speaker_split(classes, speakers, seed)
        notes.append("CH-CEMS' official split is not speaker-disjoint, this one is: numbers do not compare")
    else:
        splits = stratified_split(classes, seed)
        if common := shared_speakers(splits, speakers):
            notes.append(
                f"{common} speakers of test stand in train too, as in CH-CEMS' official split; "
                "--config.split=speakers keeps them apart"
            )
    fractions = {split: splits.count(split) / len(splits) for split in SPLITS[1:]}
    if any(abs(fraction - HELD_OUT) > 0.05 for fraction in fractions.values()):
        notes.append(
            " and ".join(f"{split} is {fraction:.0%}" for split, fraction in fractions.items())
            + f" of the items, not {HELD_OUT:.0%}: there are too few items or speakers"
        )
    return splits, notes


def vote_warnings(votes: Votes, merge: Mapping[str, Mapping[str, str]], spellings: Spellings, least: int) -> list[str]:
    """What a person should know of the votes: labels that no table knows, and concepts without enough votes."""
    notes = []
    for field in votes.concepts:
        values = {value for given in votes.votes[field].values() for value in given}
        if field not in spellings:
            notes.append(f"{field} is no concept of the table ({', '.join(spellings)}); its labels stay as they are")
        elif others := {value for value in values if spellings[field](value) is None}:
            notes.append(
                f"{field} has {len(others)} labels that the table does not know, such as {min(others)!r}; "
                "merge them (config.merge), or name a table that has them (config.concepts.table)"
            )
    notes += [f"config.merge names {field}, on which nobody has voted" for field in merge.keys() - set(votes.concepts)]
    for field in votes.concepts:
        most = max(map(len, votes.votes[field].values()))
        if most < least:
            notes.append(
                f"no item has more than {most} votes on {field}, and a label needs {least}: all go back; set "
                "config.majority"
            )
    return notes
