"""Child processes leave signals to their parent, which a terminal and some launchers send to all of them at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def left_to_the_parent() -> Iterator[None]:
    """A process that is started inside hears no SIGINT and no SIGTERM, from its first instruction on.

    The starting thread gets those that come meanwhile afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_the_parent() -> None:
    """What a process of a pool does first: a thread of it waits for the end of the parent, and ends it then."""

    def wait() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
