from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emsa_jax.data.batch_order import Plan, batch_at, boundary_at, epoch_plan, parts_at, rows_of
from emsa_jax.data.mixture import Part
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
    assert not np.array_equal(np.sort(forward[:per_epoch], axis=0), np.sort(forward[per_epoch : 2 * per_epoch], axis=0))
    assert not np.array_equal(batch_at(Plan(lengths, seed=4, **settings_), 0), forward[0])
    for step in range(per_epoch):
        longest = lengths[forward[step][forward[step] >= 0]].max()
        assert boundary_at(one, step) == (40 if longest <= 40 else 100)


def test_hash_tells_data_and_settings_apart():
    base = Plan(np.array([1, 2, 3]), (4,), 2, 0)
    assert base.hash == Plan([1, 2, 3], (4,), 2, 0).hash
    others = [Plan([1, 2, 4], (4,), 2, 0), Plan([1, 2, 3], (5,), 2, 0), Plan([1, 2, 3], (4,), 1, 0)]
    others += [Plan([1, 2, 3], (4,), 2, 1), Plan([1, 2, 3], (4,), 2, 0, drop_remainder=True)]
    parts = Part("a", 1, 1.0, "sha a"), Part("b", 2, 1.0, "sha b")
    others += [Plan([1, 2, 3], (4,), 1, 0, parts=parts), Plan([1, 2, 3], (4,), 1, 0, parts=parts[::-1])]
    for change in (dict(name="c"), dict(weight=1.2), dict(digest="other data")):
        others.append(Plan([1, 2, 3], (4,), 1, 0, parts=(parts[0], replace(parts[1], **change))))
    assert len({base.hash, *(p.hash for p in others)}) == 11


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_the_rows_of_all_processes_are_the_batch(lengths, processes, rows, mixed):
    parts = (Part("a", 1, 1.0, ""), Part("b", len(lengths) - 1, 1.0, "")) if mixed and len(lengths) > 1 else ()
    plan = Plan(lengths, (5, 30), processes * rows, 1, parts=parts)
    for step in range(2 * plan.batches_per_epoch):
        shares = [batch_at(plan, step, p, processes) for p in range(processes)]
        assert {len(share) for share in shares} == {rows}
        np.testing.assert_array_equal(np.concatenate(shares), batch_at(plan, step))
        of_parts = [parts_at(plan, step, p, processes) for p in range(processes)]
        np.testing.assert_array_equal(np.concatenate(of_parts), parts_at(plan, step))
        np.testing.assert_array_equal(
            parts_at(plan, step), [-1 if i < 0 else int(mixed and i > 0 and bool(parts)) for i in batch_at(plan, step)]
        )


def test_rows_are_blocks_in_the_order_of_processes():
    assert [rows_of(6, p, 3) for p in range(3)] == [range(0, 2), range(2, 4), range(4, 6)]
    for arguments in ((6, 0, 4), (6, 3, 3), (6, -1, 3)):
        with pytest.raises(InputError, match="a batch of 6 does not divide among"):
            rows_of(*arguments)


def test_complaints():
    with pytest.raises(InputError, match="record 1 has length 9, beyond the largest bucket 8"):
        epoch_plan([1, 9], (4, 8), 2, 0, 0)
    with pytest.raises(InputError, match="must rise"):
        epoch_plan([1], (4, 4), 2, 0, 0)
    with pytest.raises(InputError, match="2 clips make no batch of 3"):
        Plan([1, 2], (4,), 3, 0, drop_remainder=True)
