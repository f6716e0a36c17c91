"""Timers act where a body takes too long, and not elsewhere."""

import threading

import pytest

from emsa_jax.parallel.timers import unless_done


def test_a_body_that_takes_long_is_acted_on_once():
    acted, calls = threading.Event(), []
    with unless_done(0.01, lambda: (calls.append(1), acted.set())):
        assert acted.wait(10)
    assert calls == [1]


def test_a_body_that_is_done_in_time_or_fails_is_not():
    calls = []
    with unless_done(0.05, lambda: calls.append(1)):
        pass
    with pytest.raises(ValueError), unless_done(0.05, lambda: calls.append(1)):
        raise ValueError
    threading.Event().wait(0.2)
    assert calls == []
