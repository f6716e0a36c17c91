"""Child processes outlive the signals that a terminal sends to all, and not their parent."""

import os
import signal
import subprocess
import sys
import time

import psutil

from emsa_jax.data.child_signals import left_to_the_parent


def test_a_child_hears_no_signal_and_its_parent_does():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with left_to_the_parent():
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(100)"], stdout=-1
        )
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    child.stdout.readline()
    for number in (signal.SIGINT, signal.SIGTERM):
        child.send_signal(number)
    time.sleep(0.1)
    assert child.poll() is None
    child.kill()
    child.communicate()


SCRIPT = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from emsa_jax.data.child_signals import end_with_the_parent, left_to_the_parent
if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), end_with_the_parent)
    with left_to_the_parent():
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 100)
    time.sleep(100)
"""


def test_a_pool_ends_with_its_parent(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, tmp_path / "script.py"], stdout=-1, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    assert not psutil.wait_procs([child], timeout=20)[1]
