import time

import jax
import jax.numpy as jnp
import pytest

from emsa_jax.runtime.clock import Clock


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
    assert clock.take_compilations() >= 1
    function(jnp.ones(7))
    assert clock.take_compilations() == 0


def test_many_clocks_leave_one_listener_behind(monkeypatch):
    Clock()
    kept = []
    monkeypatch.setattr(jax.monitoring, "register_event_duration_secs_listener", kept.append)
    for _ in range(3):
        Clock()
    assert not kept
