"""What is the best that any policy can do on puppets? A classifier that sees the true cues as drawn."""
import csv
import os

import numpy as np

from emsa_jax.data.puppets.world import CUES
from emsa_jax.errors import InputError

_VIEWS = {
    "face_and_voice": CUES,
    "with_words": (*CUES, "valence"),
    "words_only": ("valence",),
    "face_only": ("mouth", "brow", "lift"),
    "voice_only": ("pitch", "contour", "tempo", "energy"),
}


def ceiling(latents_csv: str | os.PathLike) -> dict[str, float]:
    """Polarity accuracy on the test split, for each view, of a random forest trained on the train split's
    cues as drawn, and that of always naming the commonest polarity ("majority"). No view sees the truth.
    """
    from sklearn.ensemble import RandomForestClassifier

    if not os.path.isfile(latents_csv):
        raise InputError(f"{latents_csv}: no such file; it is written by make_puppets")
    with open(latents_csv, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    split = np.array([row["split"] for row in rows])
    polarity = np.array([np.sign(float(row["score"])) for row in rows], int)
    train, test = split == "train", split == "test"
    result = {}
    for view, names in _VIEWS.items():
        cues = np.array([[float(row[name]) for name in names] for row in rows])
        forest = RandomForestClassifier(200, min_samples_leaf=3, random_state=0)
        result[view] = float(forest.fit(cues[train], polarity[train]).score(cues[test], polarity[test]))
    values, counts = np.unique(polarity[train], return_counts=True)
    result["majority"] = float(np.mean(polarity[test] == values[counts.argmax()]))
    return result
