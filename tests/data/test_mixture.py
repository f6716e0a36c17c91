from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsa_jax.data.batch_order import Plan, batch_at, parts_at
from emsa_jax.data.mixture import Part, draw, epoch_size, part_of, shares
from emsa_jax.errors import InputError

SIMS, MOSI = Part("ch_sims", 40, 0.7, "a"), Part("cmu_mosi", 11, 0.3, "b")
weights = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6)


@given(weights, st.integers(0, 10**9))
def test_shares_add_up_and_are_never_one_clip_off(weights, total):
    taken = shares(weights, total)
    assert sum(taken) == total
    exact = [Fraction(str(w)) for w in weights]
    assert all(abs(n - total * w / sum(exact)) < 1 for n, w in zip(taken, exact, strict=True))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 20), st.floats(0.2, 5)), min_size=1, max_size=4), st.integers(1, 6))
def test_proportions_over_many_epochs(drawn, batch_size):
    parts = [Part(str(i), size, weight, "") for i, (size, weight) in enumerate(drawn)]
    try:
        count = epoch_size(parts, batch_size)
    except InputError:  # an epoch too short for the lightest part
        return
    seen = np.zeros(len(parts))
    for epoch in range(30):
        dealt = draw(parts, 3, epoch, count)
        assert len(dealt) == count and dealt.min() >= 0 and dealt.max() < sum(p.num_records for p in parts)
        seen += np.bincount(part_of(parts, dealt), minlength=len(parts))
        expected = np.array([p.weight for p in parts]) / sum(p.weight for p in parts) * seen.sum()
        assert (np.abs(seen - expected) < 1 + 1e-6).all()


def test_a_part_begins_again_only_when_all_of_it_was_dealt():
    count, small, passes = epoch_size([SIMS, MOSI], 4), [], []
    for epoch in range(40):
        dealt = draw([SIMS, MOSI], 0, epoch, count)
        small += (dealt[dealt >= 40] - 40).tolist()
    for start in range(0, len(small) - 10, 11):
        passes.append(tuple(small[start : start + 11]))
        assert sorted(passes[-1]) == list(range(11))
    assert len(passes) > 40 and len(set(passes)) == len(passes)


def test_a_plan_of_a_mixture_is_a_function_of_seed_and_step():
    lengths = np.random.default_rng(0).integers(1, 100, 51)
    one, two = (Plan(lengths, (50, 100), 4, 9, parts=(SIMS, MOSI)) for _ in range(2))
    steps = range(10 * one.batches_per_epoch)
    forward = [batch_at(one, step) for step in steps]
    for step in reversed(steps):
        np.testing.assert_array_equal(batch_at(two, step), forward[step])
    assert one.batches_per_epoch == 12 and (np.array(forward) >= 0).all()
    other = Plan(lengths, (50, 100), 4, 10, parts=(SIMS, MOSI))
    assert not np.array_equal(batch_at(other, 0), forward[0])
    counted = Counter(part for step in steps for part in parts_at(one, step).tolist())
    assert counted == {0: 336, 1: 144}  # of 480 clips, 0.7 and 0.3
    mixed = [set(parts_at(one, step).tolist()) for step in steps]
    assert mixed.count({0, 1}) > len(mixed) / 2  # within batches, not batch by batch
    buckets = np.searchsorted((50, 100), lengths[np.array(forward)])
    assert (buckets.min(axis=1) != buckets.max(axis=1)).sum() <= 10  # one batch of promoted records an epoch


def test_sizes_as_weights_show_each_clip_equally_often():
    parts = [Part("a", 40, 40, ""), Part("b", 8, 8, "")]
    assert epoch_size(parts, 4) == 48
    for epoch in range(3):
        assert sorted(draw(parts, 1, epoch, 48).tolist()) == list(range(48))


def test_parts_of_one_size_are_not_dealt_alike():
    parts = [Part("a", 30, 1, ""), Part("b", 30, 1, "")]
    dealt = draw(parts, 0, 0, 60)
    assert not np.array_equal(dealt[:30], dealt[30:] - 30)
    # nor as an epoch of its own is permuted: NumPy would take (seed, pass, 0) for (seed, pass)
    assert not np.array_equal(dealt[:30], np.random.default_rng((0, 0)).permutation(30))


def test_complaints():
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="the weight of x is .*; it must be positive"):
            epoch_size([SIMS, Part("x", 5, weight, "")], 4)
    with pytest.raises(InputError, match="x has no clips to mix in"):
        epoch_size([SIMS, Part("x", 0, 1.0, "")], 4)
    with pytest.raises(InputError, match="the weight of x gives it less than one of the 44 clips of an epoch"):
        epoch_size([SIMS, Part("x", 5, 0.01, "")], 4)
    with pytest.raises(ValueError, match="50 lengths for parts of"):
        Plan([1] * 50, (5,), 4, 0, parts=(SIMS, MOSI))
