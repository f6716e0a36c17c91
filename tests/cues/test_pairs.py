"""Matched pairs, as people look at them."""

import numpy as np

from emsa_jax.cues.emocue360 import OURS
from emsa_jax.cues.pairs import pairs_of


def test_every_cue_is_there_with_what_it_is_scored_by():
    vectors = {"x": np.array([1.0, 0]), "y": np.array([0.6, 0.8]), "subtitle": np.array([0.0, 1])}
    gold = {"a": {"auditory": ["y", "subtitle"]}, "b": {"visual": ["x"]}}
    rows = pairs_of({"a": {"auditory": ["x"], "visual": ["x"]}}, gold, vectors, OURS)
    names = ("clip", "kind", "side", "cue", "nearest", "cosine", "dropped")
    found = [tuple(row[name] for name in names) for row in rows]
    assert found == [
        ("a", "visual", "predicted", "x", None, None, False),
        ("a", "auditory", "predicted", "x", "y", 0.6, False),
        ("a", "auditory", "gold", "y", "x", 0.6, False),
        ("a", "auditory", "gold", "subtitle", None, None, True),
        ("b", "visual", "gold", "x", None, None, False),
    ]
