"""An xprof trace of a run's first steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jax

from emsa_jax.runtime.console import say
from emsa_jax.runtime.run import Run


@contextmanager
def profiled(run: Run, steps: int, first: int) -> Iterator[Callable[[int], None]]:
    """A function to call as each step begins: `steps` of them after the first are traced to profile/."""
    begin, end = first + 1, first + 1 + steps
    directory, tracing = run.path("profile"), False

    def stop() -> None:
        nonlocal tracing
        jax.profiler.stop_trace()
        tracing = False
        say(f"profile: {directory}; look at it with: xprof --logdir {directory}")

    def step_begins(step: int) -> None:
        nonlocal tracing
        if tracing and step == end:
            stop()
        if steps and step == begin:
            jax.profiler.start_trace(str(directory))
            tracing = True

    try:
        yield step_begins
    finally:
        if tracing:
            stop()
