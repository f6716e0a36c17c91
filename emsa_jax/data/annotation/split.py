"""Splits of an annotated set: 6:2:2 stratified by class, and one that keeps each speaker in one split."""

import math
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np

from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError

HELD_OUT = 0.2  # the fraction of all items that goes to test, and to valid


def stratified_split(classes: Sequence[str], seed: int = 0) -> list[str]:
    """A split of `SPLITS` for each item: a fifth (rounded up) is drawn for test, then as many for valid, each with the
    classes in proportion. CH-CEMS' totals give the counts of its table 6."""
    rng = np.random.default_rng(seed)
    labels = np.asarray(classes)
    splits = np.full(len(labels), SPLITS[0], object)
    size = math.ceil(HELD_OUT * len(labels))
    for split in (SPLITS[2], SPLITS[1]):
        left = splits == SPLITS[0]
        names, counts = np.unique(labels[left], return_counts=True)
        for name, count in zip(names, allocate(counts, min(size, int(left.sum())), rng), strict=True):
            members = np.flatnonzero(left & (labels == name))
            splits[rng.permutation(members)[:count]] = split
    return splits.tolist()


def allocate(counts: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """How many of each class to draw: `draws` in all, in proportion to `counts`.

    Each class gets the whole part of its quota, then those with the largest remainders get one more; among equal
    remainders, chance decides.
    """
    exact = counts / counts.sum() * draws
    whole = np.floor(exact).astype(int)
    order = np.lexsort((rng.random(len(counts)), -np.round(exact - whole, 9)))
    whole[order[: draws - whole.sum()]] += 1
    return whole


def speaker_split(classes: Sequence[str], speakers: Sequence[str], seed: int = 0) -> list[str]:
    """As `stratified_split`, but with all items of a speaker in one split, so that sizes are met only as far as the
    speakers allow: of five folds, the two whose sizes are nearest to a fifth become test and valid.

    Where no class has five items, classes are ignored. Raises InputError where a speaker is unknown, or where there are
    fewer than five speakers.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if not all(speakers):
        raise InputError(f"split: item {list(map(bool, speakers)).index(False) + 1} has no speaker; name all of them")
    if len(set(speakers)) < 5:
        raise InputError(
            f"split: {len(set(speakers))} speakers cannot be divided among three splits; at least 5 are needed"
        )
    if max(Counter(classes).values()) < 5:
        classes = [""] * len(classes)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    splits = [SPLITS[0]] * len(classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer items than folds
        parts = [test for _, test in folds.split(np.zeros(len(classes)), classes, speakers)]
    nearest = sorted(parts, key=lambda part: abs(len(part) - HELD_OUT * len(classes)))
    for part, split in zip(nearest, (SPLITS[2], SPLITS[1]), strict=False):
        for i in part:
            splits[i] = split
    return splits


def shared_speakers(splits: Sequence[str], speakers: Sequence[str]) -> int:
    """How many speakers are in test and in train."""
    of = {split: {s for s, at in zip(speakers, splits, strict=True) if s and at == split} for split in SPLITS}
    return len(of[SPLITS[2]] & of[SPLITS[0]])
