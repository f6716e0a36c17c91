import pytest

from emsa_jax.data.facts import FACTS, describe
from emsa_jax.data.readers import READERS


def test_facts_are_those_of_readers_in_their_order():
    assert [name for name in READERS if name in FACTS] == list(FACTS)  # a new reader may do without


@pytest.mark.parametrize("name", FACTS)
def test_numbers_agree(name):
    facts = FACTS[name]
    low, high = facts.score_range
    assert low < 0 < high and facts.language in ("en", "zh")
    for split, counts in facts.class_sizes.items():
        if facts.sizes:
            total = sum(facts.sizes.values()) if split == "all" else facts.sizes[split]
            assert sum(counts.values()) == total
        if facts.classes:
            assert set(counts) <= set(facts.classes)


def test_what_is_printed():
    lines = describe("ch_sims")
    assert lines[0] == "CH-SIMS: language zh, scores in [-1, 1]"
    assert "official sizes: train 1,368, valid 456, test 457" in lines
    assert "official classes of test: negative 248, neutral 69, positive 140" in lines
    assert any("inside CH-SIMS v2" in line for line in lines)
    assert describe("mer_caption_plus")[0].endswith("no scores")
    assert all(line and "\n" not in line for name in FACTS for line in describe(name))
