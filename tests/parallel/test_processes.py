"""One process of two fails, is told to stop, or is killed: the other ends soon, in one line, with the code that tells a
launcher whether to start again."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from emsa_jax.parallel import preemption

SCRIPT = """
import signal, sys, time
from emsa_jax import errors, main
from emsa_jax.runtime import startup
from emsa_jax.parallel import processes, distributed, preemption, watchdog

watchdog.POLL, watchdog.GRACE, watchdog.SILENT, processes._LINGER = 0.2, 1.0, 8.0, 5.0
distributed.start(60)
preemption.listen(startup._stop)
watchdog.watch()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # as in a device program: Python hears nothing
processes.exchange(b"", "the start")
print("ready", flush=True)
if sys.argv[1] == "fails" and processes.process_index() == 1:
    main._end(errors.InputError("no such policy"), None)
elif sys.argv[1] == "fails":
    try:
        processes.exchange(b"", "the end")
    except processes.ProcessError as error:
        main._end(error, None)
elif sys.argv[1] == "goes on":
    for _ in range(15):
        time.sleep(1)
        processes.exchange(b"", "the next")
    print(f"{time.time():.0f}", flush=True)
    time.sleep(3 * (not processes.is_main()))  # the service must not stop with process 0 before
    sys.exit(0)
time.sleep(100)
"""
CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int code = real(clock, now);
  if (clock == CLOCK_REALTIME && access(getenv("CLOCK_BACK"), F_OK) == 0) now->tv_sec -= 3600;
  return code;
}
"""  # the wall clock is set back by an hour as soon as the file CLOCK_BACK is there


@pytest.mark.parametrize(
    ("what", "number", "codes", "told"),
    [
        ("fails", 1, [2, 2], "error: another process failed: process 1: no such policy"),
        ("is told to stop", 1, [42, 42], "error: another process failed: process 1: told to stop"),
        ("is killed", 1, [42, -9], "error: another process failed: process 1 has given no sign of life for 8 seconds"),
    ],
)
def test_the_other_ends_too(what, number, codes, told):
    started = start(what)
    begun = time.monotonic()
    if "fails" not in what:
        started[number].send_signal(signal.SIGKILL if "killed" in what else signal.SIGTERM)
    outputs = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == codes, outputs
    assert time.monotonic() - begun < 30
    assert outputs[1 - number][1].splitlines()[-1:] == [told] and "Check failure" not in str(outputs)


def test_process_0_is_killed():
    """With the service, which JAX notices first: it aborts, and launchers take that (128 and more) for "again"."""
    started = start("is killed")
    started[0].kill()
    assert started[1].wait(30) in (preemption.EXIT, -signal.SIGABRT)
    for process in started:
        process.communicate()


@pytest.mark.slow
def test_the_clock_is_set_back(tmp_path):
    """By an hour, while both are at work. It takes a C compiler, cc."""
    (tmp_path / "clock.c").write_text(CLOCK)
    library = tmp_path / "clock.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "clock.c", "-ldl"], check=True)
    started = start("goes on", LD_PRELOAD=str(library), CLOCK_BACK=str(tmp_path / "back"))
    (tmp_path / "back").touch()
    outputs = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert all(int(shown) < time.time() - 3000 for shown, _ in outputs)
    assert not any(said for _, said in outputs), outputs


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(what: str, **more: str) -> list[subprocess.Popen]:
    environment = os.environ | {
        **more,
        "JAX_PLATFORMS": "cpu",
        "NNODES": "2",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, what],
            env=environment | {"NODE_RANK": str(rank)},
            stdout=-1,
            stderr=-1,
            text=True,
        )
        for rank in range(2)
    ]
    assert [process.stdout.readline() for process in started] == ["ready\n"] * 2
    return started
