"""Threads of every process: a signal ends it wherever it is, and none waits for ever for one that has failed, was
killed, or hangs.

Inside a device program a process notices neither its signals nor the other processes, because Python's signal handlers
wait for the main thread. JAX would end it after 100 seconds with a page of C++.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time

from emsa_jax.parallel import interrupts, preemption, processes

POLL = 2.0  # seconds between two looks
GRACE = 10.0  # seconds in which the main thread may notice by itself, and end in order
SILENT = 80.0  # seconds without a heartbeat after which a process counts as dead
UNHEARD = 1.0  # seconds after which a Ctrl-C counts as one that the main thread does not notice
_KEY = "emsa_jax/alive/"  # of the heartbeats; the number of the process follows
_ended = threading.Event()
_watching = threading.Event()


def watch() -> None:
    """Starts the threads. It has to be called by the main thread, after the processes have joined."""
    watch_signals()
    threading.Thread(target=_watch_others, daemon=True).start()


def watch_signals() -> None:
    """Starts the thread that looks after signals, if it is not there yet; to be called by the main thread."""
    if _watching.is_set():
        return
    _watching.set()
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # a child's signals are not this process's
    atexit.register(_ended.set)  # at the end the service stops, and no process is missing
    threading.Thread(target=_watch_signals, args=(read_end,), daemon=True).start()


def _watch_others() -> None:
    """Sends heartbeats, and ends this process when another one has failed. Process 0 looks for silent processes."""
    begun = time.monotonic()
    last = {process: ("", begun) for process in range(processes.process_count())}
    while not _ended.wait(POLL):
        try:
            _send_heartbeat()
            failed = processes.failed()
            for process, beat in _heartbeats().items() if processes.is_main() else ():
                if last[process][0] != beat:
                    last[process] = beat, time.monotonic()
        except Exception:  # noqa: BLE001 (a service that has stopped may raise anything)
            failed = processes.ProcessError("process 0 cannot be reached")
        silent = [
            process for process, (_, at) in last.items() if processes.is_main() and time.monotonic() - at > SILENT
        ]
        if not failed and silent:
            failed = processes.ProcessError(f"process {silent[0]} has given no sign of life for {SILENT:g} seconds")
            processes.publish(str(failed), failed.code)
        if failed and not _ended.wait(GRACE + 2 * POLL * processes.is_main()):  # the service stops with process 0
            print(f"error: another process failed: {failed}", file=sys.stderr, flush=True)
            processes.leave(failed.code)


def _send_heartbeat() -> None:
    """Shows process 0 that this process is alive."""
    processes.client().key_value_set(f"{_KEY}{processes.process_index()}", str(time.monotonic()), allow_overwrite=True)


def _heartbeats() -> dict[int, str]:
    """Process -> its last heartbeat, a text that differs from the one before."""
    return {int(key.rpartition("/")[2]): beat for key, beat in processes.client().key_value_dir_get(_KEY)}


def _watch_signals(read_end: int) -> None:
    """Ends the run after a SIGTERM or a Ctrl-C that the main thread does not notice."""
    while number := os.read(read_end, 1):
        if number[0] == signal.SIGTERM and not _ended.wait(GRACE) and not preemption.is_deferred():
            _leave(preemption.LINE, "told to stop", preemption.EXIT)
        if number[0] == signal.SIGINT and interrupts.is_listening() and not _ended.wait(UNHEARD):
            if not interrupts.is_requested() or not _ended.wait(GRACE):
                _leave(interrupts.LINE, "stopped by Ctrl-C", interrupts.EXIT)


def _leave(line: str, reason: str, code: int) -> None:
    print(line, file=sys.stderr, flush=True)
    processes.fail(reason, code)
    processes.leave(code)
