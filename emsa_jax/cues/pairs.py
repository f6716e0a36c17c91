"""Which cue was matched with which: what a score is made of, for people who look at it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from emsa_jax.cues.cue_files import KINDS, Cues
from emsa_jax.cues.emocue360 import Rule


def pairs_of(
    predicted: Mapping[str, Cues], gold: Mapping[str, Cues], vectors: Mapping[str, np.ndarray], rule: Rule
) -> list[dict]:
    """One row for each cue of each clip: {"clip", "kind", "side" ("predicted" or "gold"), "cue", "nearest" (the cue of
    the other side that it is scored by, None where there is none), "cosine", "dropped" (by the rule)}."""
    rows = []
    for clip in gold:
        for kind in KINDS:
            sides = {"predicted": predicted.get(clip, {}).get(kind, []), "gold": gold[clip].get(kind, [])}
            for side, cues in sides.items():
                other = sides["gold" if side == "predicted" else "predicted"]
                other = [cue for cue in other if not (kind == "auditory" and rule.drops(cue))]
                for cue in cues:
                    dropped = kind == "auditory" and rule.drops(cue)
                    row = {"clip": clip, "kind": kind, "side": side, "cue": cue, "nearest": None, "cosine": None}
                    if other and not dropped:
                        cosines = [float(vectors[cue] @ vectors[o]) for o in other]
                        best = int(np.argmax(cosines))
                        row |= {"nearest": other[best], "cosine": cosines[best]}
                    rows.append(row | {"dropped": dropped})
    return rows
