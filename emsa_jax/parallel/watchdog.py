"""A thread of every process that lets none wait for ever for one that has failed, was killed, or froze.

Inside a device program a process hears neither its signals nor the others: Python's handlers wait for the main thread.
JAX would end it after 100 seconds with a page of C++.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time

from emsa_jax.parallel import preemption, processes

POLL = 2.0  # seconds between looks
GRACE = 10.0  # seconds that the main thread has to hear of it by itself, and to end as it should
SILENT = 80.0  # seconds without a sign of life after which a process counts as dead
_ended = threading.Event()


def watch() -> None:
    """Begins. To be called once, by the main thread, after the processes have joined."""
    heard, signalled = os.pipe()
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # its signals are not ours
    atexit.register(_ended.set)  # at the end the service goes, and nobody is missing
    for function, arguments in ((_watch_others, ()), (_watch_signals, (heard,))):
        threading.Thread(target=function, args=arguments, daemon=True).start()


def _watch_others() -> None:
    begun = time.monotonic()
    lives = {process: ("", begun) for process in range(processes.process_count())}
    while not _ended.wait(POLL):
        try:
            processes.live()
            failed = processes.failed()
            for process, sign in processes.signs().items() if processes.is_main() else ():
                if lives[process][0] != sign:
                    lives[process] = sign, time.monotonic()
        except Exception:  # noqa: BLE001 (whatever a service that is gone makes of itself)
            failed = processes.ProcessError("process 0 cannot be reached")
        silent = [
            process for process, (_, at) in lives.items() if processes.is_main() and time.monotonic() - at > SILENT
        ]
        if not failed and silent:
            failed = processes.ProcessError(f"process {silent[0]} has given no sign of life for {SILENT:g} seconds")
            processes.publish(str(failed), failed.code)
        if failed and not _ended.wait(GRACE + 2 * POLL * processes.is_main()):  # the service goes with process 0
            print(f"error: another process failed: {failed}", file=sys.stderr, flush=True)
            processes.leave(failed.code)


def _watch_signals(heard: int) -> None:
    while number := os.read(heard, 1):
        if number[0] == signal.SIGTERM and not _ended.wait(GRACE) and not preemption.kept():
            processes.fail("told to stop", preemption.EXIT)
            processes.leave(preemption.EXIT)
