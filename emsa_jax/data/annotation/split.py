"""Splits of an annotated set: 6:2:2 stratified by class, and one that keeps every speaker on one side."""

import math
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np

from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError

SHARE = 0.2  # of all items, of test and of valid each


def stratified_split(classes: Sequence[str], seed: int = 0) -> list[str]:
    """A split of `SPLITS` for each item: a fifth (rounded up) is drawn for test, then as many for valid, each with the
    classes in proportion. CH-CEMS' totals give the counts of its table 6."""
    rng = np.random.default_rng(seed)
    labels = np.asarray(classes)
    splits = np.full(len(labels), SPLITS[0], object)
    size = math.ceil(SHARE * len(labels))
    for split in (SPLITS[2], SPLITS[1]):
        left = splits == SPLITS[0]
        names, counts = np.unique(labels[left], return_counts=True)
        for name, count in zip(names, allocate(counts, min(size, int(left.sum())), rng), strict=True):
            members = np.flatnonzero(left & (labels == name))
            splits[rng.permutation(members)[:count]] = split
    return splits.tolist()


def allocate(counts: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How many of each class to draw, `draws` in all and in proportion to `counts`: the whole parts, then one more to
    those with the largest remainders; equal remainders are put in an order by chance."""
    exact = counts / counts.sum() * draws
    whole = np.floor(exact).astype(int)
    order = np.lexsort((rng.random(len(counts)), -np.round(exact - whole, 9)))
    whole[order[: draws - whole.sum()]] += 1
    return whole


def speaker_split(classes: Sequence[str], speakers: Sequence[str], seed: int = 0) -> list[str]:
    """As `stratified_split`, but all items of a speaker in one split, so that shares are met about as well as speakers
    allow: of five folds, the two nearest to a fifth become test and valid. Where no class has five items, classes are
    not looked at. InputError where a speaker is unknown or there are fewer than five."""
    from sklearn.model_selection import StratifiedGroupKFold

    if not all(speakers):
        raise InputError(f"split: item {list(map(bool, speakers)).index(False) + 1} has no speaker; name all of them")
    if len(set(speakers)) < 5:
        raise InputError(f"split: {len(set(speakers))} speakers cannot be kept apart in three splits; 5 is the least")
    if max(Counter(classes).values()) < 5:
        classes = [""] * len(classes)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    splits = [SPLITS[0]] * len(classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer items than folds
        parts = [test for _, test in folds.split(np.zeros(len(classes)), classes, speakers)]
    nearest = sorted(parts, key=lambda part: abs(len(part) - SHARE * len(classes)))
    for part, split in zip(nearest, (SPLITS[2], SPLITS[1]), strict=False):
        for i in part:
            splits[i] = split
    return splits


def shared_speakers(splits: Sequence[str], speakers: Sequence[str]) -> int:
    """Speakers of test who stand in train too."""
    of = {split: {s for s, at in zip(speakers, splits, strict=True) if s and at == split} for split in SPLITS}
    return len(of[SPLITS[2]] & of[SPLITS[0]])
