"""SIGTERM: the notice before a machine is taken away. Between two updates a run saves and ends with exit code 42;
elsewhere it ends at once, as nothing is lost there that the same command would not make again.

Launchers take 42 for "start it again" (xpk's restart policy: 42 and 127-255).
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

EXIT = 42
_state = {"asked": False, "agreed": False, "deferred": 0, "leave": None}


def listen(leave: Callable[[], None]) -> None:
    """From now on a SIGTERM ends the process, by `leave`, or is kept until `agreed` is asked."""

    def heard(*_: object) -> None:
        _state["asked"] = True
        if not _state["deferred"]:
            leave()

    _state["leave"] = leave
    signal.signal(signal.SIGTERM, heard)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Inside, a SIGTERM is kept for `agreed`."""
    _state["deferred"] += 1
    try:
        yield
    finally:
        _state["deferred"] -= 1
    if _state["asked"] and not _state["deferred"]:  # it came after the last look
        _state["leave"]()


def kept() -> bool:
    """Whether a SIGTERM would be kept now."""
    return bool(_state["deferred"])


def is_requested() -> bool:
    """Whether this process was told to stop."""
    return _state["asked"]


def set_agreed(stopping: bool) -> None:
    """What all processes know of after an exchange (processes.exchange)."""
    _state["agreed"] = stopping


def is_agreed(processes: int) -> bool:
    """Whether the run is to stop: the same answer on all processes between two exchanges."""
    return _state["agreed"] if processes > 1 else _state["asked"]


def exit_saved(step: int, stage: str, is_main: bool = True) -> None:
    """Ends the process after everything is saved.

    Args:
      is_main: whether this process says so, which one of them does.
    """
    if is_main:
        print(f"told to stop: {stage} is saved at step {step}; the same command goes on", flush=True)
    sys.exit(EXIT)
