import time

import jax
import jax.numpy as jnp
import pytest

from emsa_jax.runtime.clock import Clock
from emsa_jax.runtime.prefetch import ahead


def test_phases_add_up_and_start_anew():
    clock = Clock()
    for _ in range(2):
        with clock.phase("a"):
            time.sleep(0.02)
    assert clock.run("b", lambda x: x + 1, 1) == 2
    assert 0.04 <= clock.seconds["a"] < clock.elapsed() and clock.seconds["b"] < 0.02
    clock.restart()
    assert clock.seconds == {} and clock.elapsed() < 0.02


def test_a_phase_that_fails_counts_too():
    clock = Clock()
    with pytest.raises(KeyError), clock.phase("a"):
        raise KeyError
    assert "a" in clock.seconds


def test_results_are_awaited():
    work = jax.jit(lambda x: jax.lax.fori_loop(0, 30, lambda i, y: y @ x / 400, x))
    square = jnp.ones((400, 400))
    work(square).block_until_ready()
    begun = time.perf_counter()
    work(square).block_until_ready()
    alone = time.perf_counter() - begun
    clock = Clock()
    clock.run("a", work, square)
    assert clock.seconds["a"] > alone / 5


def test_compilations_are_counted():
    clock = Clock()
    function = jax.jit(lambda x: x * 3 + 1)
    function(jnp.ones(7))
    once = clock.compilations
    assert once >= 1
    function(jnp.ones(7))
    assert clock.compilations == once


def test_one_is_made_ahead_and_no_more():
    made, closed = [], []

    def items():
        try:
            yield from range(5)
        finally:
            closed.append(True)

    stream = ahead(items(), lambda i: made.append(i) or i * i)
    assert next(stream) == 0
    time.sleep(0.05)
    assert made == [0, 1]
    assert list(stream) == [1, 4, 9, 16] and made == [0, 1, 2, 3, 4] and closed
    assert list(ahead((i for i in ()), str)) == []


def test_what_goes_wrong_ahead_is_told_in_its_turn_and_closing_ends_it():
    def fails(i):
        if i == 1:
            raise ValueError("no")
        return i

    stream = ahead((i for i in range(3)), fails)
    assert next(stream) == 0
    with pytest.raises(ValueError, match="no"):
        next(stream)
    stream = ahead((i for i in range(10**9)), lambda i: i)
    next(stream)
    stream.close()
    assert list(stream) == []
