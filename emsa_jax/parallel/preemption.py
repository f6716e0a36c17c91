"""SIGTERM, the notice before a machine is taken away.

Between two updates a run saves its state and ends with exit code 42. Elsewhere it ends at once: the same command makes
again what is lost there. Launchers take 42 for "start it again" (the restart policy of xpk: 42 and 127 to 255).
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

EXIT = 42
LINE = "note: told to stop; what was finished is kept, and the same command goes on"
_state = {"asked": False, "agreed": False, "deferred": 0, "leave": None}


def listen(leave: Callable[[], None]) -> None:
    """From now on a SIGTERM calls `leave`, which ends the process; inside `deferred` it waits for `is_agreed`."""

    def on_sigterm(*_: object) -> None:
        _state["asked"] = True
        if not _state["deferred"]:
            leave()

    _state["leave"] = leave
    signal.signal(signal.SIGTERM, on_sigterm)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """In the body, a SIGTERM does not end the process: the body asks `is_agreed` between two updates."""
    _state["deferred"] += 1
    try:
        yield
    finally:
        _state["deferred"] -= 1
    if _state["asked"] and not _state["deferred"]:  # the signal came after the body had asked for the last time
        _state["leave"]()


def is_deferred() -> bool:
    """Whether a SIGTERM would wait for `is_agreed` now."""
    return bool(_state["deferred"])


def is_requested() -> bool:
    """Whether this process has received a SIGTERM."""
    return _state["asked"]


def set_agreed(stopping: bool) -> None:
    """Notes whether any process has received a SIGTERM, which all of them know after `processes.exchange`."""
    _state["agreed"] = stopping


def is_agreed(processes: int) -> bool:
    """Whether the run is to stop. All processes get the same answer between two exchanges.

    Args:
      processes: how many the run has; a single one needs no exchange.
    """
    return _state["agreed"] if processes > 1 else _state["asked"]


def exit_saved(step: int, stage: str, is_main: bool = True) -> None:
    """Ends the process after everything is saved, with exit code 42.

    Args:
      is_main: whether this is the process that says so.
    """
    if is_main:
        print(f"note: told to stop: {stage} is saved at step {step}; the same command goes on", flush=True)
    sys.exit(EXIT)
