"""Probes of a bridge on made features: what is there is found, and what is not is not."""

import numpy as np
import pytest

from emsa_jax.data.pairs import Pair
from emsa_jax.evaluation.bridge_probes import NAMED, probe_bridge
from emsa_jax.policy.thinker_config import BridgeConfig
from emsa_jax.training.bridge_features import PairFeatures
from emsa_jax.training.bridge_options import BridgesOptions
from emsa_jax.training.bridges import fresh_bridge

CONFIG = BridgeConfig(8, 12, 2, 1, positions=0, output_size=6, text_size=3)
KINDS = ("angry", "calm", "sad")


@pytest.fixture(scope="module")
def world():
    """90 clips of 4 frames, of which the first three numbers of each valid frame name the class; the rest is noise."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 90)
    states = rng.standard_normal((90, 4, 8)).astype(np.float32)
    valid = np.arange(4) < rng.integers(2, 5, (90, 1))
    states[:, :, :3] += 3 * np.eye(3, dtype=np.float32)[kinds][:, None]
    states[~valid] = 50.0  # what is not valid would spoil a mean
    pairs = [Pair(str(i), None, "x", "train" if i < 60 else "test", KINDS[k]) for i, k in enumerate(kinds)]
    return PairFeatures(states, valid, np.eye(3, dtype=np.float32)[kinds], "made"), pairs


def test_a_linear_probe_finds_classes_that_are_there(world):
    features, pairs = world
    params = fresh_bridge(BridgesOptions(kind="aecb"), CONFIG)
    asked = []

    def encode(texts):
        asked.extend(texts)
        return np.eye(3, dtype=np.float32)

    (found,) = probe_bridge(params, CONFIG, features, pairs, encode).values()
    assert asked == [NAMED.format(kind) for kind in KINDS] and (found["classes"], found["n"]) == (list(KINDS), 30)
    assert found["linear_before"]["UAR"] > 0.9 and found["linear_behind"]["UAR"] > 0.7
    assert 0 <= found["zero_shot"]["WAR"] <= 1
    shuffled = [Pair(p.id, None, "x", p.split, pairs[(i * 37 + 11) % 90].label) for i, p in enumerate(pairs)]
    (chance,) = probe_bridge(params, CONFIG, features, shuffled, encode).values()
    assert chance["linear_before"]["UAR"] < 0.65


def test_without_labels_there_is_no_probe(world):
    features, pairs = world
    bare = [Pair(p.id, None, "x", p.split) for p in pairs]
    assert probe_bridge(fresh_bridge(BridgesOptions(kind="aecb"), CONFIG), CONFIG, features, bare, None) == {}
