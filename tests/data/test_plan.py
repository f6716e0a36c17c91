import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsa_jax.data.plan import Plan, batch_at, boundary_at, epoch_plan
from emsa_jax.errors import InputError


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(1, 9), st.integers(0, 5))
def test_each_record_once_an_epoch(lengths, batch_size, seed):
    plan = epoch_plan(lengths, (5, 10, 30), batch_size, seed, 0)
    assert plan.shape == (-(-len(lengths) // batch_size), batch_size)
    assert sorted(plan[plan >= 0].tolist()) == list(range(len(lengths)))
    assert (plan < 0).any(axis=1).sum() <= 1
    dropped = epoch_plan(lengths, (5, 10, 30), batch_size, seed, 0, drop_remainder=True)
    assert dropped.shape == (len(lengths) // batch_size, batch_size)
    assert len(np.unique(dropped)) == dropped.size and (dropped >= 0).all()


def test_batches_are_of_like_lengths():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    plan = epoch_plan(lengths, (25, 50, 75, 100), 8, 0, 0)
    buckets = np.searchsorted((25, 50, 75, 100), lengths[plan])
    mixed = (buckets.min(axis=1) != buckets.max(axis=1)).sum()
    assert mixed <= 3  # at most one batch of promoted records a boundary


def test_a_step_is_a_function_of_seed_and_step():
    lengths = np.random.default_rng(1).integers(1, 100, 101)
    settings_ = dict(boundaries=(40, 100), batch_size=7)
    one, two = Plan(lengths, seed=3, **settings_), Plan(lengths, seed=3, **settings_)
    forward = [batch_at(one, step) for step in range(40)]
    for step in reversed(range(40)):
        np.testing.assert_array_equal(batch_at(two, step), forward[step])
    per_epoch = one.batches_per_epoch
    assert per_epoch == 15
    assert not np.array_equal(
        np.sort(forward[:per_epoch], axis=0), np.sort(forward[per_epoch : 2 * per_epoch], axis=0)
    )
    assert not np.array_equal(batch_at(Plan(lengths, seed=4, **settings_), 0), forward[0])
    for step in range(per_epoch):
        longest = lengths[forward[step][forward[step] >= 0]].max()
        assert boundary_at(one, step) == (40 if longest <= 40 else 100)


def test_hash_tells_data_and_settings_apart():
    base = Plan(np.array([1, 2, 3]), (4,), 2, 0)
    assert base.hash == Plan([1, 2, 3], (4,), 2, 0).hash
    others = [Plan([1, 2, 4], (4,), 2, 0), Plan([1, 2, 3], (5,), 2, 0), Plan([1, 2, 3], (4,), 1, 0)]
    others += [Plan([1, 2, 3], (4,), 2, 1), Plan([1, 2, 3], (4,), 2, 0, drop_remainder=True)]
    assert len({base.hash, *(p.hash for p in others)}) == 6


def test_complaints():
    with pytest.raises(InputError, match="record 1 has length 9, beyond the largest bucket 8"):
        epoch_plan([1, 9], (4, 8), 2, 0, 0)
    with pytest.raises(InputError, match="must rise"):
        epoch_plan([1], (4, 4), 2, 0, 0)
    with pytest.raises(InputError, match="2 clips make no batch of 3"):
        Plan([1, 2], (4,), 3, 0, drop_remainder=True)
