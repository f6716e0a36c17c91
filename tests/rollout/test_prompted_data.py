"""A split as jobs use it."""

import numpy as np

from emsa_jax.data.records import Entry
from emsa_jax.rollout.prompted_data import Split


def split(scores):
    entries = [Entry(str(i), "words", score, "train", "en", 0, 0, 0, 0.0, 0) for i, score in enumerate(scores)]
    return Split(
        None, None, entries, np.arange(len(scores)) + 10, [f"clip {i}" for i in range(20)], np.arange(len(scores)) + 2
    )


def test_rarer_polarities_are_repeated():
    whole = split([-1.0, 0.3, -0.2, 0.0, -0.5, None, 0.05])
    balanced = whole.balanced(neutral_eps=0.1)
    polarity = [
        "unknown"
        if e.score is None
        else "neutral"
        if abs(e.score) <= 0.1
        else "positive"
        if e.score > 0
        else "negative"
        for e in balanced.entries
    ]
    assert {p: polarity.count(p) for p in set(polarity)} == {"negative": 3, "positive": 3, "neutral": 3, "unknown": 1}
    for i, entry in enumerate(balanced.entries):  # lengths and clips go with their entries
        assert balanced.lengths[i] == int(entry.id) + 10
        assert balanced[i] == f"clip {int(entry.id) + 2}"
    assert [e.id for e in balanced.entries].count("1") == 3 and {"3", "6"} <= {e.id for e in balanced.entries}


def test_equal_classes_stay_as_they_are():
    whole = split([-1.0, 0.3, 0.0])
    assert sorted(e.id for e in whole.balanced(0.0).entries) == ["0", "1", "2"]
