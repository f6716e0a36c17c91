"""What is to be known of a prepared set before anyone learns from it, or is judged by it.

All functions are pure; what they give is made of JSON values, kept in the manifest of the records.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from emsa_jax.data.outliers import OUTLIERS
from emsa_jax.data.records.record import Entry
from emsa_jax.data.sample import SPLITS, Sample

MANY = 0.05  # share of the clips judged that others know already, from which on it is no accident
MOST = 0.5  # share of a split's clips that are odd, from which on the split is
CORNER = 0.5  # share of the score range, at most, within which labels that may be of another range lie
FEW_LABELS = 4  # so many say nothing about their range
_EXAMPLES = 3
_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
UNLABELLED = "unlabelled"


class Labelled(Protocol):
    """A Sample or an Entry."""

    label: str
    score: float | None


def label_of(clip: Labelled) -> str:
    """The class that a clip is counted in: its own, or the sign of its score."""
    if clip.label or clip.score is None:
        return clip.label or UNLABELLED
    return "Positive" if clip.score > 0 else "Negative" if clip.score < 0 else "Neutral"


def findings(
    samples: Sequence[Sample],
    entries: Sequence[Entry],
    reasons: Mapping[str, str],
    score_range: tuple[float, float],
    unnamed: tuple[int, Sequence[str]] = (0, ()),
) -> dict[str, Any]:
    """What is to be known of a set.

    samples: all that the source names. entries: of those that became records. reasons: sample id -> why it did not.
    unnamed: how many media files beside those named no row names, and some of them.

    Returns
      splits: {split: {"kept", "quarantined": n, "classes": {class: [kept, quarantined]}, "scores": {quantile: score}}}
      reasons: {reason without names and numbers: n}
      overlaps: as `overlaps` gives them
      notes: [{"note", "odd": whether it is one of OUTLIERS and no guess, "splits": {split: n}, "examples": ids}]
      repeated: {"clips", "other_labels": n, "examples": pairs of ids}; clips with the media and the words of an
        earlier one of their split
      unnamed: {"files": n, "examples": paths}
      said: what of it a person should be told, a line each that begins with warning: or note:
    """
    found = {
        "splits": {split: _split(samples, entries, split) for split in SPLITS},
        "reasons": dict(Counter(map(_kind, reasons.values())).most_common()),
        "overlaps": overlaps([(split, [e for e in entries if e.split == split]) for split in SPLITS]),
        "notes": _notes(entries),
        "repeated": _repeated(samples, entries),
        "unnamed": {"files": unnamed[0], "examples": list(unnamed[1])},
    }
    return found | {"said": _said(found, entries, score_range)}


def overlaps(groups: Sequence[tuple[str, Sequence[Entry]]]) -> list[dict[str, Any]]:
    """What clips of a group share with clips of an earlier one, such as those that are learned from.

    groups: (name, entries). Returns {"of", "with": names, "by": "words", "media", "video" or "speaker", "clips": n,
    "bare": those that are words alone, "among": clips of the group, "examples": ids}. Words are compared without case
    and punctuation, media by their hashes; "video" is the one of which ids of the form `<video>$_$<clip>` speak.
    """
    keys = {"words": _words, "media": lambda e: e.source, "video": _video, "speaker": lambda e: e.speaker.casefold()}
    found = []
    for number, (later, judged) in enumerate(groups):
        for earlier, known in groups[:number]:
            for by, key in keys.items():
                held = {value for e in known if (value := key(e))}
                if both := [e for e in judged if key(e) in held]:
                    counts = {"clips": len(both), "bare": sum(not e.seconds for e in both), "among": len(judged)}
                    examples = [e.id for e in both[:_EXAMPLES]]
                    found.append({"of": later, "with": earlier, "by": by, **counts, "examples": examples})
    return found


def overlap_lines(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each two groups of `overlaps` that share anything: a warning where that is no accident."""
    pairs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for one in found:
        pairs.setdefault((one["of"], one["with"]), []).append(one)
    names = {"words": "the words", "media": "the media file", "video": "the video", "speaker": "the speaker"}
    lines = []
    for (later, earlier), ones in pairs.items():
        weight = "warning" if any(map(_is_leak, ones)) else "note"
        shared = ", ".join(f"{o['clips']} have {names[o['by']]}" for o in ones)
        lines.append(
            f"{weight}: of the {_count(ones[0]['among'], 'clip')} of {later}, {shared} of clips of {earlier} (such as "
            f"{ones[0]['examples'][0]}): these do not show how a policy does on what it has never met"
        )
    return lines


def _is_leak(shared: Mapping[str, Any]) -> bool:
    """Whether an overlap is no accident. Words recur by nature, as long as picture and sound are others."""
    if shared["by"] == "words":
        return max(shared["bare"] / MANY, shared["clips"] / MOST) > shared["among"]
    return shared["by"] == "media" or shared["clips"] > MANY * shared["among"]


def _split(samples: Sequence[Sample], entries: Sequence[Entry], split: str) -> dict[str, Any]:
    kept = [e for e in entries if e.split == split]
    classes = {c: [n, 0] for c, n in Counter(map(label_of, kept)).most_common()}
    ids = {e.id for e in kept}
    lost = [s for s in samples if s.split == split and s.id not in ids]
    for sample in lost:
        classes.setdefault(label_of(sample), [0, 0])[1] += 1
    scores = [e.score for e in kept if e.score is not None]
    at = np.quantile(scores, _QUANTILES, method="inverted_cdf").tolist() if scores else []
    named = {f"{q:g}": score for q, score in zip(_QUANTILES, at, strict=False)}
    return {"kept": len(kept), "quarantined": len(lost), "classes": classes, "scores": named}


def _kind(reason: str) -> str:
    """A reason without what is this clip's own: paths and numbers."""
    return re.sub(r"\d+(\.\d+)?", "N", re.sub(r"\S*/\S*", "...", reason))


def _words(entry: Entry) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", entry.text).casefold() if c.isalnum())


def _video(entry: Entry) -> str:
    video, mark, _ = entry.id.partition("$_$")
    return video if mark else ""


def _notes(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    held: dict[str, list[Entry]] = {}
    for entry in entries:
        for note in entry.notes:
            held.setdefault(note, []).append(entry)
    return [
        {
            "note": note,
            "odd": note in OUTLIERS,
            "splits": {split: n for split in SPLITS if (n := sum(e.split == split for e in clips))},
            "examples": [e.id for e in clips[:_EXAMPLES]],
        }
        for note, clips in sorted(held.items(), key=lambda item: -len(item[1]))
    ]


def _repeated(samples: Sequence[Sample], entries: Sequence[Entry]) -> dict[str, Any]:
    spans = {sample.id: (sample.start, sample.end) for sample in samples}
    first: dict[tuple, Entry] = {}
    pairs, other_labels = [], 0
    for entry in entries:
        if (words := _words(entry)) or entry.source:
            key = (entry.split, words, entry.source, spans.get(entry.id))
            earlier = first.setdefault(key, entry)
            if earlier is not entry:
                pairs.append([entry.id, earlier.id])
                other_labels += (entry.score, entry.label) != (earlier.score, earlier.label)
    return {"clips": len(pairs), "other_labels": other_labels, "examples": pairs[:_EXAMPLES]}


def _said(found: Mapping[str, Any], entries: Sequence[Entry], score_range: tuple[float, float]) -> list[str]:
    lines = _losses(found["splits"]) + _of_labels(entries, score_range) + overlap_lines(found["overlaps"])
    if n := found["repeated"]["clips"]:
        clip, earlier = found["repeated"]["examples"][0]
        other = found["repeated"]["other_labels"]
        differs = f", {other} of them with another label" if other else ""
        lines.append(
            f"{'warning' if other else 'note'}: {_count(n, 'clip')} repeat another of their split, such as {clip}, "
            f"which is {earlier} again{differs}"
        )
    for one in found["notes"]:
        count = sum(one["splits"].values())
        odd = [s for s, n in one["splits"].items() if one["odd"] and n > MOST * found["splits"][s]["kept"]]
        where = f" ({', '.join(f'{n} {split}' for split, n in one['splits'].items())}; {one['examples'][0]}"
        more = ", ...)" if count > 1 else ")"
        lines.append(f"{'warning' if odd else 'note'}: {_count(count, 'clip')}{where}{more}: {one['note']}")
    if n := found["unnamed"]["files"]:
        some = ", ".join(found["unnamed"]["examples"])
        lines.append(f"note: {_count(n, 'media file')} beside the clips, named by no row, such as {some}")
    return sorted(lines, key=lambda line: not line.startswith("warning"))


def _losses(splits: Mapping[str, Any]) -> list[str]:
    lines = []
    for split, counts in splits.items():
        if counts["quarantined"] and not counts["kept"]:
            lines.append(f"warning: all clips of {split} ({counts['quarantined']}) were quarantined: {split} is empty")
            continue
        lost = [c for c, (kept, aside) in counts["classes"].items() if aside and not kept and c != UNLABELLED]
        for name in lost:
            n = counts["classes"][name][1]
            lines.append(
                f"warning: all clips of class {name} in {split} ({n}) were quarantined: it has none of them now"
            )
    known = {c for c, (kept, _) in splits["train"]["classes"].items() if kept} - {UNLABELLED}
    for split in ("valid", "test"):
        classes = {c for c, (kept, _) in splits[split]["classes"].items() if kept} - {UNLABELLED}
        if known and (new := sorted(classes - known)):
            lines.append(f"warning: {split} has clips of class {', '.join(new)}, of which train has none")
    return lines


def _of_labels(entries: Sequence[Entry], score_range: tuple[float, float]) -> list[str]:
    lines = []
    for split in SPLITS:
        counted = Counter(label_of(e) for e in entries if e.split == split and (e.label or e.score is not None))
        if len(counted) == 1 and (n := counted.total()) > 1:
            lines.append(
                f"warning: all {n} labelled clips of {split} are of one class, {next(iter(counted))}: one class alone "
                "can neither be learned nor be told from others"
            )
    spelt: dict[str, set[str]] = {}
    for entry in entries:
        spelt.setdefault(entry.label.casefold().strip(" ."), set()).add(entry.label)
    lines += [
        f"warning: {' and '.join(sorted(names))} count as classes of their own; if one is meant, spell it in one way"
        for names in spelt.values()
        if len(names) > 1
    ]
    scores = [e.score for e in entries if e.score is not None]
    low, high = score_range
    if len(scores) >= FEW_LABELS and max(scores) - min(scores) <= CORNER * (high - low):
        lines.append(
            f"warning: all scores lie between {min(scores):g} and {max(scores):g}, a corner of the score range "
            f"[{low:g}, {high:g}]; if that is not theirs, name their own with score_range"
        )
    return lines


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}" if number == 1 else f"{number:,} {name}s"
