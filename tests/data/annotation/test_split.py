"""Splits: the paper's table, scikit-learn's counts, and nobody on both sides."""

from collections import Counter

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from emsa_jax.answers.labels import SENTIMENTS
from emsa_jax.data.annotation.split import shared_speakers, speaker_split, stratified_split
from emsa_jax.errors import InputError

TOTALS = dict(zip(SENTIMENTS[5], (279, 565, 1521, 965, 385), strict=True))
CLASSES = [name for name, n in TOTALS.items() for _ in range(n)]
TABLE_6 = {"train": (167, 339, 913, 579, 231), "valid": (56, 113, 304, 193, 77), "test": (56, 113, 304, 193, 77)}


def counted(classes, splits):
    found = Counter(zip(splits, classes, strict=True))
    return {
        split: tuple(found[split, name] for name in sorted(set(classes), key=classes.index))
        for split in ("train", "valid", "test")
    }


@pytest.mark.parametrize("seed", range(5))
def test_the_papers_totals_give_table_6(seed):
    order = np.random.default_rng(seed).permutation(len(CLASSES))
    shuffled = [CLASSES[i] for i in order]
    splits = stratified_split(shuffled, seed)
    found = Counter(zip(splits, shuffled, strict=True))
    assert {split: tuple(found[split, name] for name in TOTALS) for split in TABLE_6} == TABLE_6


@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_two_splits_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    classes = [str(c) for c, n in enumerate(rng.integers(11, 300, rng.integers(2, 6))) for _ in range(n)]
    size = -(-len(classes) // 5)
    rest, test = train_test_split(classes, test_size=size, stratify=classes, random_state=seed)
    train, valid = train_test_split(rest, test_size=size, stratify=rest, random_state=seed)
    ours = counted(classes, stratified_split(classes, seed))
    theirs = {
        name: tuple(Counter(part)[c] for c in sorted(set(classes), key=classes.index))
        for name, part in (("train", train), ("valid", valid), ("test", test))
    }
    for split, counts in theirs.items():
        assert sum(ours[split]) == sum(counts)
        assert max(abs(a - b) for a, b in zip(ours[split], counts, strict=True)) <= 1  # equal remainders: by chance


def test_membership_is_a_matter_of_the_seed():
    assert stratified_split(CLASSES, 1) == stratified_split(CLASSES, 1) != stratified_split(CLASSES, 2)
    again = [stratified_split(["a"] * 50, seed) for seed in range(200)]
    share = np.mean([[split == "test" for split in splits] for splits in again], axis=0)
    assert abs(share - 0.2).max() < 0.12  # no place is favoured; a standard deviation is 0.03


@pytest.mark.parametrize("classes", [["a"], ["a", "b"], ["a"] * 4, ["a", "b", "c", "d", "e"], ["a"] * 9 + ["b"]])
def test_small_sets_are_split_as_far_as_they_go(classes):
    counts = Counter(stratified_split(classes))
    size = -(-len(classes) // 5)
    assert counts["test"] == size and counts["valid"] == min(size, len(classes) - size)


def test_speakers_stay_on_one_side():
    rng = np.random.default_rng(0)
    speakers = [f"s{rng.integers(0, 1866)}" for _ in CLASSES]
    splits = speaker_split(CLASSES, speakers, 3)
    assert shared_speakers(splits, speakers) == 0 < shared_speakers(stratified_split(CLASSES, 3), speakers)
    sides = {}
    for speaker, split in zip(speakers, splits, strict=True):
        sides.setdefault(speaker, set()).add(split)
    assert all(len(side) == 1 for side in sides.values())
    for split, counts in counted(CLASSES, splits).items():
        np.testing.assert_allclose(counts, TABLE_6[split], rtol=0.12)


def test_one_who_spoke_much_is_not_the_test_set():
    speakers = ["loud"] * 50 + [f"s{i % 10}" for i in range(50)]
    classes = [str(i % 3) for i in range(100)]
    for seed in range(20):
        counts = Counter(speaker_split(classes, speakers, seed))
        assert counts["train"] >= 70 and counts["test"] >= 10 and counts["valid"] >= 10


def test_a_few_items_of_each_class_are_split_by_speaker():
    counts = Counter(speaker_split([str(i // 2) for i in range(10)], [f"s{i}" for i in range(10)]))
    assert counts == {"train": 6, "valid": 2, "test": 2}


def test_what_cannot_be_kept_apart_is_told():
    with pytest.raises(InputError, match="4 speakers"):
        speaker_split(["a"] * 8, ["s", "t", "u", "v"] * 2)
    with pytest.raises(InputError, match="item 2 has no speaker"):
        speaker_split(["a"] * 6, ["s", "", "u", "v", "w", "x"])
