"""Ctrl-C (SIGINT): the process ends with one line and exit code 130.

Nothing needs to be saved then: what is on the disk is whole at any moment. Where the main thread is in a compilation or
a device program and hears nothing, `watchdog` ends the process.
"""

from __future__ import annotations

import signal

EXIT = 130
LINE = "note: stopped by Ctrl-C; what was finished is kept, and the same command goes on"
_state = {"asked": False}


def listen() -> None:
    """From now on the first SIGINT raises KeyboardInterrupt, and further ones do not disturb the end of the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell's background job ignores it
        signal.signal(signal.SIGINT, _on_sigint)


def is_listening() -> bool:
    """Whether `listen` was called."""
    return signal.getsignal(signal.SIGINT) is _on_sigint


def is_requested() -> bool:
    """Whether the main thread has heard of a Ctrl-C."""
    return _state["asked"]


def _on_sigint(*_: object) -> None:
    if not _state["asked"]:
        _state["asked"] = True
        raise KeyboardInterrupt
