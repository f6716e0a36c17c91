"""What of emotions an encoder's states hold, before a cue bridge and behind it (XEmoGPT, section IV): a linear probe,
and classes named in words. UAR is the recall as a mean over classes, WAR the accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.data.pairs import Pair
from emsa_jax.evaluation.classification import label_row
from emsa_jax.learning.contrastive import cosines
from emsa_jax.learning.ridge import RidgeSums
from emsa_jax.policy.bridges import caption_vectors, clip_vectors, encode_bridge
from emsa_jax.policy.thinker_config import BridgeConfig
from emsa_jax.training.bridge_features import PairFeatures

RIDGE = 0.1  # weight of the probe's squared weights beside the mean variance of a feature
CLIPS = 32  # that go through the bridge together
NAMED = "The speaker is {}."  # how a class is put into words


def probe_bridge(
    params: dict,
    config: BridgeConfig,
    features: PairFeatures,
    pairs: Sequence[Pair],
    encode: Callable[[Sequence[str]], np.ndarray],
) -> dict[str, dict]:
    """Split -> {"classes", "n", "linear_before", "linear_behind", "zero_shot"}, each of the last three {"UAR", "WAR"},
    of the splits beside train that have labelled pairs; {} where train has not two classes.

    linear: ridge regression from the mean state of a clip to its class, each class weighing the same, learned on train.
    zero_shot: the class whose name in words is nearest to the clip's vector.
    encode: captions -> their vectors by the frozen text encoder.
    """
    labels = np.array([pair.label for pair in pairs])
    rows = {split: np.array([i for i, p in enumerate(pairs) if p.split == split and p.label], int)
            for split in ("train", "valid", "test")}  # fmt: skip
    classes = sorted(set(labels[rows["train"]]))
    if len(classes) < 2:
        return {}
    before, behind, vectors = _of_clips(params, config, features)
    named = caption_vectors(params["heads"], encode([NAMED.format(name) for name in classes]))
    found = {}
    for split in ("valid", "test"):
        some = rows[split][np.isin(labels[rows[split]], classes)]
        if not len(some):
            continue
        true = np.searchsorted(classes, labels[some])
        train = np.searchsorted(classes, labels[rows["train"]])
        guessed = {
            "linear_before": _linear(before, rows["train"], train, some),
            "linear_behind": _linear(behind, rows["train"], train, some),
            "zero_shot": np.asarray(cosines(vectors[some], named)).argmax(1),
        }
        scores = {name: label_row(guess, true, len(classes)) for name, guess in guessed.items()}
        found[split] = {"classes": classes, "n": len(some)}
        found[split] |= {name: {what: row[what] for what in ("UAR", "WAR")} for name, row in scores.items()}
    return found


def _linear(x: np.ndarray, train: np.ndarray, classes: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The class of each test row by ridge regression on the train rows, whose classes weigh the same."""
    x = (x - x[train].mean(0)) / (x[train].std(0) + 1e-6)
    weight = 1 / np.bincount(classes)[classes]
    w, b = RidgeSums.of(x[train], np.eye(classes.max() + 1)[classes], weight).solve(RIDGE)
    return (x[test] @ w.T + b).argmax(1)


def _of_clips(params: dict, config: BridgeConfig, features: PairFeatures) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean states before the bridge, mean states behind it, vectors) of all clips."""

    @jax.jit
    def run(states: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        out, count = encode_bridge(params["bridge"], config, states, valid), valid.sum(1, keepdims=True)
        means = [jnp.where(valid[..., None], x, 0).sum(1) / jnp.maximum(count, 1) for x in (states, out)]
        return means[0], means[1], clip_vectors(params["heads"], config, out, valid)

    parts, number = [], len(features.states)
    for first in range(0, number, CLIPS):
        some = features.take(np.resize(np.arange(first, min(first + CLIPS, number)), CLIPS))  # one shape, one program
        parts.append([np.asarray(x)[: number - first] for x in run(some.states, some.valid)])
    before, behind, vectors = (np.concatenate(x) for x in zip(*parts, strict=True))
    return before, behind, vectors
