"""What is the best that any policy can do on puppets? A classifier that sees the true cues as drawn."""

import csv
import os

import numpy as np

from emsa_jax.data.puppets.concept_world import FIELDS
from emsa_jax.data.puppets.words import STYLES
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


def concept_ceiling(directory: str | os.PathLike, classes: int = 3) -> dict[str, float]:
    """Of an annotated puppet data set: accuracy on the test split of "sentiment", each concept and their mean ("mean of
    concepts"), of random forests trained on the train split's cues as drawn, the words' valence and the style.

    The labels are those that the annotators' votes gave: their errors bound it."""
    from sklearn.ensemble import RandomForestClassifier

    cues = (*CUES, "valence")
    tables = []
    for name in ("latents.csv", "label.csv"):
        with open(os.path.join(directory, name), encoding="utf-8", newline="") as file:
            tables.append(list(csv.DictReader(file)))
    latents, labels = tables
    seen = np.array([[float(row[cue]) for cue in cues] + [row["style"] == STYLES[0]] for row in latents], float)
    test = np.array([row["mode"] == "test" for row in labels])
    targets = {"sentiment": [_class(float(row["label"]), classes) for row in labels]}
    targets |= {field: [row[field] for row in labels] for field in FIELDS}
    result = {}
    for name, values in targets.items():
        values = np.array(values)
        known = values != ""
        forest = RandomForestClassifier(200, min_samples_leaf=3, random_state=0)
        forest.fit(seen[known & ~test], values[known & ~test])
        result[name] = float(forest.score(seen[known & test], values[known & test]))
    return result | {"mean of concepts": float(np.mean([result[field] for field in FIELDS]))}


def _class(score: float, classes: int) -> str:
    """The class of a mean of five votes, a multiple of 0.2."""
    size = 0 if abs(score) < 0.1 else 1 if abs(score) < 0.7 or classes == 3 else 2
    return str(int(np.sign(score)) * size)
