"""Where the time of a step goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"


class _Compilations:
    """How often this process has compiled something. JAX keeps a listener for good, so that all clocks share one."""

    def __init__(self) -> None:
        self.count: int | None = None

    def listen(self) -> int:
        """Counts from now on, if not yet; how many there were."""
        if self.count is None:
            self.count = 0
            jax.monitoring.register_event_duration_secs_listener(self._heard)
        return self.count

    def _heard(self, event: str, _seconds: float, **_: Any) -> None:
        self.count += event == COMPILED


_COMPILATIONS = _Compilations()


class Clock:
    """Seconds by phase since `restart`, and how often something was compiled since `take_compilations`."""

    def __init__(self) -> None:
        self._compiled = _COMPILATIONS.listen()
        self.restart()

    def restart(self) -> None:
        """Forgets all phases."""
        self.seconds: dict[str, float] = {}
        self._begun = time.perf_counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time inside to a phase."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun

    def run(self, name: str, program: Callable, *arguments: Any) -> Any:
        """Calls a program and waits for what it returns, which counts as a phase."""
        with self.phase(name), jax.profiler.TraceAnnotation(name):
            return jax.block_until_ready(program(*arguments))

    def elapsed(self) -> float:
        """Seconds since `restart`, phases or not."""
        return time.perf_counter() - self._begun

    def take_compilations(self) -> int:
        """How often something was compiled since this was last asked, or since the clock was made."""
        before, self._compiled = self._compiled, _COMPILATIONS.listen()
        return self._compiled - before
