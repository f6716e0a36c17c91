"""What a prepared set holds, in numbers, beside the official ones."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from emsa_jax.answers.labels import POLARITIES, polarity_of
from emsa_jax.data.facts import Facts
from emsa_jax.data.records import Entry
from emsa_jax.data.sample import SPLITS

LISTED = 40  # values of one kind that are counted each, beside those known; the rest are counted as one
UNLABELLED = "unlabelled"
SIGNS = tuple(reversed(POLARITIES))  # from negative to positive

Table = dict[str, dict[str, int]]  # split -> value -> clips


def class_of(entry: Entry) -> str:
    """The polarity of a clip's score, as the field counts it: by sign alone; `UNLABELLED` without one."""
    return UNLABELLED if entry.score is None else polarity_of(entry.score)


def summarize(entries: Sequence[Entry], facts: Facts) -> dict[str, Any]:
    """Counts as JSON values. entries: all of a set. facts: of its data set; its classes are counted at 0, too, and its
    labels in Chinese as those in English.

    samples {split: n}; polarity, labels {split: {class: n}}; concepts {name: {split: {value: n}}}; media
    {"video", "audio", "text": n}; languages {language: n}; speakers: how many different ones; seconds: of
    all clips together; official {"samples": {split: n}, "polarity", "labels": {split or "all": {class: n}}}, as
    far as there are such numbers.
    """
    labels = [(e.split, e.label) for e in entries if e.label]
    names = dict.fromkeys(name for e in entries for name, _ in e.concepts)
    english = {name: dict(zip(facts.chinese[name], facts.concepts[name], strict=True)) for name in facts.chinese}
    concepts = {
        name: [
            (e.split, english.get(name, {}).get(value, value)) for e in entries for n, value in e.concepts if n == name
        ]
        for name in names
    }
    return {
        "samples": {split: sum(e.split == split for e in entries) for split in SPLITS},
        "polarity": tally(((e.split, class_of(e)) for e in entries), (*SIGNS, UNLABELLED)),
        "labels": tally(labels, facts.classes if labels else ()),
        "concepts": {name: tally(pairs, facts.concepts.get(name, ())) for name, pairs in concepts.items()},
        "media": {
            "video": sum(e.num_frames > 0 for e in entries),
            "audio": sum(e.mel_frames > 0 for e in entries),
            "text": sum(bool(e.text.strip()) for e in entries),
        },
        "languages": dict(Counter(e.language for e in entries).most_common()),
        "speakers": len({e.speaker for e in entries if e.speaker}),
        "seconds": round(sum(e.seconds for e in entries), 2),
        "official": _official(facts),
    }


def tally(pairs: Iterable[tuple[str, str]], known: Sequence[str] = ()) -> Table:
    """(split, value) pairs, counted: `known` values first, then the others, the most frequent first.

    Every split has every value. Of the others, all beyond `LISTED` are one: "and 12 more values".
    """
    counted = Counter(pairs)
    totals: Counter[str] = Counter()
    for (_, value), n in sorted(counted.items()):
        totals[value] += n
    others = [value for value, _ in totals.most_common() if value not in known]
    listed, rest = (*known, *others[:LISTED]), others[LISTED:]
    table = {split: {value: counted[split, value] for value in listed} for split in SPLITS}
    if rest:
        for split in SPLITS:
            table[split][f"and {len(rest)} more values"] = sum(counted[split, value] for value in rest)
    return table


def _official(facts: Facts) -> dict[str, Any]:
    signs = {sign.lower(): sign for sign in SIGNS}
    polarity, labels = {}, {}
    for split, sizes in facts.class_sizes.items():
        if sizes.keys() == signs.keys():
            polarity[split] = {signs[name]: n for name, n in sizes.items()}
        else:
            labels[split] = dict(sizes)
    return {"samples": dict(facts.sizes), "polarity": polarity, "labels": labels}
