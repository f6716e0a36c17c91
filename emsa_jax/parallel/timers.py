"""What happens when something takes too long."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def unless_done(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Calls `act` once, in a thread, if the body takes longer than so many seconds."""
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
