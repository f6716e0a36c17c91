"""EmoCue-360 (XEmoGPT, section III-E): cues of each kind are matched by the meaning of their sentences.

Two ways of counting. `OFFICIAL` is the public scorer's: the clips that have predictions; an auditory cue with the
letters "text" in it is dropped; a clip whose emotional cues are absent counts 0 even where there are none to find.
`OURS` counts the clips of the gold file, so that a clip without prediction is a clip with nothing predicted, and drops
auditory cues only where they speak of subtitles.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emsa_jax.cues.cue_files import KINDS, Cues
from emsa_jax.errors import InputError
from emsa_jax.rewards.cue_matching import match, unit_vectors

SUBTITLES = re.compile(r"(?i)\bsubtitles?\b|字幕|^\s*(the\s+)?text\b")
MEASURES = ("precision", "recall", "f1")

Embed = Callable[[Sequence[str]], np.ndarray]


@dataclass(frozen=True)
class Rule:
    """A way of counting.

    Attributes:
      drops: whether an auditory cue is dropped on both sides, since it is read and not heard.
      gold_clips: whether the clips of the gold file are counted, or those that have predictions.
      absent_is_zero: whether absent emotional cues count 0 before the gold is looked at.
    """

    drops: Callable[[str], bool]
    gold_clips: bool
    absent_is_zero: bool


OFFICIAL = Rule(lambda cue: "text" in cue, gold_clips=False, absent_is_zero=True)
OURS = Rule(lambda cue: SUBTITLES.search(cue) is not None, gold_clips=True, absent_is_zero=False)
RULES = {"official": OFFICIAL, "subtitles": OURS}

ClipScores = dict[str, dict[str, tuple[float, float, float]]]  # kind -> clip -> precision, recall, F1


def score_clips(
    predicted: Mapping[str, Cues], gold: Mapping[str, Cues], vectors: Mapping[str, np.ndarray], rule: Rule
) -> ClipScores:
    """Scores of each clip and kind; a clip without gold cues of a kind is not among that kind's.

    vectors: of every cue (`vectors_of`).
    Raises: InputError naming a clip that is predicted and not in the gold.
    """
    if strange := next((clip for clip in predicted if clip not in gold), None):
        raise InputError(f"clip {strange!r} is predicted, but the gold file has no such clip")
    found: ClipScores = {kind: {} for kind in KINDS}
    for clip in gold if rule.gold_clips else predicted:
        for kind in KINDS:
            scores = _clip(predicted.get(clip, {}), gold[clip], kind, vectors, rule)
            if scores is not None:
                found[kind][clip] = scores
    return found


def _clip(
    predicted: Cues, gold: Cues, kind: str, vectors: Mapping[str, np.ndarray], rule: Rule
) -> tuple[float, float, float] | None:
    if rule.absent_is_zero and kind == "emotional" and kind not in predicted:
        return 0.0, 0.0, 0.0
    sides = [side.get(kind, []) for side in (predicted, gold)]
    if kind == "auditory":
        sides = [[cue for cue in side if not rule.drops(cue)] for side in sides]
    if not sides[1]:
        return None
    if not sides[0]:
        return 0.0, 0.0, 0.0
    return match(*(np.stack([vectors[cue] for cue in side]) for side in sides))


def vectors_of(embed: Embed, *files: Mapping[str, Cues]) -> dict[str, np.ndarray]:
    """Cue -> its vector of length 1, float64, for every cue of some files; each is embedded once."""
    cues = sorted({cue for file in files for kinds in file.values() for listed in kinds.values() for cue in listed})
    return dict(zip(cues, unit_vectors(embed(cues)), strict=True)) if cues else {}


def means(scores: ClipScores, clips: Sequence[str] | None = None) -> dict[str, dict]:
    """Kind -> {"precision", "recall", "f1", "n"}: plain means over clips; None where no clip counts.

    F1 is the mean of the clips' F1, not the F1 of the means. clips: with repetitions, as a bootstrap draws them
    (default: each once).
    """
    found = {}
    for kind, of_clip in scores.items():
        chosen = of_clip if clips is None else [clip for clip in clips if clip in of_clip]
        rows = np.array([of_clip[clip] for clip in chosen], np.float64).reshape(-1, 3)
        values = rows.mean(0).tolist() if len(rows) else [None] * 3
        found[kind] = dict(zip(MEASURES, values, strict=True)) | {"n": len(rows)}
    return found


def floor(
    predicted: Mapping[str, Cues],
    gold: Mapping[str, Cues],
    vectors: Mapping[str, np.ndarray],
    rule: Rule,
    draws: int = 20,
    seed: int = 0,
) -> dict[str, float | None]:
    """The `summary` that predictions of other clips get, a mean over random exchanges: what cues are worth that do not
    look at the clip. None where fewer than two clips are predicted."""
    clips, rng, found = list(predicted), np.random.default_rng(seed), []
    for _ in range(draws if len(clips) > 1 else 0):
        order = rng.permutation(len(clips))
        taken = dict(zip(order, np.roll(order, 1), strict=True))  # nobody keeps their own
        other = {clip: predicted[clips[taken[place]]] for place, clip in enumerate(clips)}
        found.append(summary(means(score_clips(other, gold, vectors, rule))))
    return {
        name: float(np.mean([one[name] for one in found])) if found and found[0][name] is not None else None
        for name in ("mean", "mean_f1")
    }


def summary(found: Mapping[str, dict]) -> dict[str, float | None]:
    """ "mean", of the precisions and recalls of all kinds that have clips, as the paper prints it, and "mean_f1"."""
    known = [kind for kind in found.values() if kind["n"]]
    both = [kind[name] for kind in known for name in ("precision", "recall")]
    f1 = [kind["f1"] for kind in known]
    return {"mean": float(np.mean(both)) if both else None, "mean_f1": float(np.mean(f1)) if f1 else None}
