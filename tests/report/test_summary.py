"""Counts, against counts by hand."""

import pytest

from emsa_jax.data.facts import FACTS, Facts
from emsa_jax.report.summary import LISTED, class_of, summarize, tally

SMALL = Facts(
    "Small",
    "en",
    "",
    classes=("angry", "happy"),
    concepts={"tone": ("cold", "flat")},
    chinese={"tone": ("冷", "平")},
    sizes={"train": 3, "test": 1},
    class_sizes={"test": {"happy": 1}},
)


def test_a_small_set(make):
    e = make.entry
    counts = summarize(
        [
            e(score=-0.2, label="sad", speaker="A", concepts=(("tone", "平"), ("expression", "sad"))),
            e(score=0.0, label="happy", speaker="B", concepts=(("tone", "warm"),), language="zh"),
            e(score=None, split="test", num_frames=0, frame_rate=0.0, speaker="A"),
            e(score=1.0, split="test", label="happy", mel_frames=0, text=" ", concepts=(("tone", "warm"),)),
        ],
        SMALL,
    )
    assert counts == {
        "samples": {"train": 2, "valid": 0, "test": 2},
        "polarity": {
            "train": {"Negative": 1, "Neutral": 1, "Positive": 0, "unlabelled": 0},
            "valid": {"Negative": 0, "Neutral": 0, "Positive": 0, "unlabelled": 0},
            "test": {"Negative": 0, "Neutral": 0, "Positive": 1, "unlabelled": 1},
        },
        "labels": {
            "train": {"angry": 0, "happy": 1, "sad": 1},
            "valid": {"angry": 0, "happy": 0, "sad": 0},
            "test": {"angry": 0, "happy": 1, "sad": 0},
        },
        "concepts": {
            "tone": {
                "train": {"cold": 0, "flat": 1, "warm": 1},
                "valid": {"cold": 0, "flat": 0, "warm": 0},
                "test": {"cold": 0, "flat": 0, "warm": 1},
            },
            "expression": {"train": {"sad": 1}, "valid": {"sad": 0}, "test": {"sad": 0}},
        },
        "media": {"video": 3, "audio": 3, "text": 3},
        "languages": {"en": 3, "zh": 1},
        "speakers": 2,
        "seconds": 2.0 + 2.0 + 1.5 + 2.0,
        "official": {"samples": {"train": 3, "test": 1}, "polarity": {}, "labels": {"test": {"happy": 1}}},
    }
    assert list(counts["labels"]["train"]) == ["angry", "happy", "sad"]
    assert list(counts["concepts"]["tone"]["test"]) == ["cold", "flat", "warm"]


def test_a_set_without_classes_has_none(make):
    counts = summarize([make.entry()], SMALL)
    assert counts["labels"] == {"train": {}, "valid": {}, "test": {}} and counts["concepts"] == {}


def test_nothing_at_all():
    assert summarize([], SMALL)["samples"] == {"train": 0, "valid": 0, "test": 0}


def test_many_values_are_counted_to_the_last():
    pairs = [("train", f"v{i:03d}") for i in range(100)] + [("test", "v099"), ("valid", "known")]
    table = tally(pairs, ("known",))
    assert [len(column) for column in table.values()] == [LISTED + 2] * 3
    assert list(table["train"])[:3] == ["known", "v099", "v000"]
    assert list(table["train"])[-1] == "and 60 more values" and table["train"]["and 60 more values"] == 60
    assert [sum(column.values()) for column in table.values()] == [100, 1, 1]


@pytest.mark.parametrize("score, named", [(None, "unlabelled"), (-0.2, "Negative"), (0.0, "Neutral"), (3, "Positive")])
def test_polarity_is_the_sign(make, score, named):
    assert class_of(make.entry(score=score)) == named


def test_official_numbers_of_signs_and_of_classes():
    sims = summarize([], FACTS["ch_sims"])["official"]
    assert sims["samples"] == {"train": 1368, "valid": 456, "test": 457} and sims["labels"] == {}
    assert sims["polarity"]["test"] == {"Negative": 248, "Neutral": 69, "Positive": 140}
    meld = summarize([], FACTS["meld"])["official"]
    assert meld["polarity"] == {} and meld["labels"]["valid"]["surprise"] == 150
