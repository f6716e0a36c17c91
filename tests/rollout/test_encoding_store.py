"""Entries are whole or not there, and take no more room than they may."""

import os

import numpy as np
import pytest

from emsa_jax.rollout.encoding_store import EncodingStore

ENTRY = 32 + 4 * 6  # bytes


def array(seed):
    return np.random.default_rng(seed).standard_normal((2, 3)).astype(np.float32)


def get(store, key):
    return store.get(key, (2, 3), np.dtype(np.float32))


def age(store, key, seconds):
    path = next(store.directory.glob(f"*/{key}"))
    os.utime(path, (seconds, seconds))


def test_what_was_put_is_found_by_others(tmp_path):
    ours = EncodingStore(tmp_path / "new", 10**6)
    assert get(ours, "aa1") is None
    ours.put("aa1", array(1))
    theirs = EncodingStore(tmp_path / "new", 10**6)
    np.testing.assert_array_equal(get(theirs, "aa1"), array(1))
    assert (ours.made, theirs.read, theirs.damaged) == (1, 1, 0)
    assert [path.name for path in (tmp_path / "new").rglob("*") if path.is_file()] == ["aa1"]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:40], lambda b: b"", lambda b: b + b"x"]
)
def test_damaged_entries_are_as_good_as_none_and_counted(tmp_path, damage):
    store = EncodingStore(tmp_path, 10**6)
    store.put("aa1", array(1))
    path = tmp_path / "aa" / "aa1"
    path.write_bytes(damage(path.read_bytes()))
    assert get(store, "aa1") is None and store.damaged == 1
    store.put("aa1", array(1))
    np.testing.assert_array_equal(get(store, "aa1"), array(1))


def test_the_longest_unused_make_room_but_none_that_is_in_use(tmp_path):
    before = EncodingStore(tmp_path, 3 * ENTRY)
    for i, key in enumerate(("aa1", "bb2", "cc3")):
        before.put(key, array(i))
        age(before, key, 1000 + i)
    store = EncodingStore(tmp_path, 3 * ENTRY)
    assert get(store, "aa1") is not None  # now in use, and not old any more
    store.put("dd4", array(4))
    assert get(store, "bb2") is None and get(store, "cc3") is not None and get(store, "dd4") is not None
    store.put("ee5", array(5))  # all three are in use: this one is not kept
    assert get(store, "ee5") is None and get(store, "aa1") is not None
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 3 * ENTRY


def test_a_place_that_cannot_be_written_keeps_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    store = EncodingStore(tmp_path / "file" / "below", 10**6)
    store.put("aa1", array(1))
    assert get(store, "aa1") is None
