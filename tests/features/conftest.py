"""A feature file of few and short utterances, whose label the words say in part and the voice in part."""

import pickle

import numpy as np
import pytest


def made_part(seed, count, text=7, width=6):
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-1, 1, count)
    arrays = {
        name: rng.normal(0, 0.3, (count, steps, size))
        for name, steps, size in (("text", text, width), ("audio", 9, 5), ("vision", 8, 4))
    }
    arrays["text"][:, 2, 0] += 2 * labels
    arrays["audio"][:, 4, 1] += labels
    ids = np.ones((count, 3, text), np.int64)
    ids[:, 0] = rng.integers(1, 60, (count, text))
    ids[:, 2] = 0
    ids[1::2, 1, -2:] = 0
    return {
        "id": [f"video_{seed}$_${i}" for i in range(count)],
        "raw_text": [f"clip {i}" for i in range(count)],
        "text_bert": ids,
        "regression_labels": labels,
        **arrays,
    }


@pytest.fixture
def parts():
    return {
        name: made_part(seed, count) for seed, (name, count) in enumerate((("train", 21), ("valid", 7), ("test", 9)))
    }


@pytest.fixture
def write(tmp_path):
    """parts -> path of a feature file."""

    def write(parts):
        path = tmp_path / "features.pkl"
        path.write_bytes(pickle.dumps(parts))
        return path

    return write
