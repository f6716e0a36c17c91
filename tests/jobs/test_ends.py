"""How a whole run ends that cannot go on: one line, the exit code that says whose turn it is, and the same command
goes on."""

import os
import re
import resource
import signal
import time

import pytest

from emsa_jax.parallel import interrupts

pytestmark = pytest.mark.slow
MADE = ("compilation_cache", "puppets", "records", "policy")


@pytest.fixture
def hears(monkeypatch):
    """Processes that are started hear SIGINT, also where the tests run as a background job, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def wait_for(process, happened, job):
    while not happened():
        assert process.poll() is None, job.log
        time.sleep(0.02)


def said(job, process, code):
    """The last line of a run that has ended with an exit code, and in which nothing else complains."""
    assert process.wait(timeout=120) == code, job.log
    *before, line = job.log.splitlines()
    assert not [x for x in before if re.match(r"error:|Traceback|\s+File |.*Error\b|\*\*\*|E0000|F0000", x)], job.log
    return line


@pytest.mark.parametrize("mark", ["sft update", "grpo sample", "kept_answers greedy"])
def test_ctrl_c_in_a_loop(mini, tmp_path, hears, mark):
    job = mini.copy(tmp_path / "run", *MADE)
    process = job.start()
    wait_for(process, lambda: mark in job.marks, job)
    os.kill(process.pid, signal.SIGINT)
    assert said(job, process, 130) == interrupts.LINE


def test_ctrl_c_while_compiling(mini, tmp_path, hears):
    job = mini.copy(tmp_path / "run", *MADE[1:])
    process = job.start()
    wait_for(process, lambda: "compile" in job.marks, job)
    time.sleep(1.0)
    os.kill(process.pid, signal.SIGINT)
    assert said(job, process, 130) == interrupts.LINE


def test_sigterm_while_puppets_are_drawn(mini, tmp_path):
    job = mini.copy(tmp_path / "run", "compilation_cache")
    process = job.start(**{"puppets.num_train": 400})
    wait_for(process, (job.workdir / "puppets" / "en.part").exists, job)
    os.kill(process.pid, signal.SIGTERM)
    assert said(job, process, 42) == "note: told to stop; what was finished is kept, and the same command goes on"
    assert job.run(**{"puppets.num_train": 400, "stages": "('prepare',)"}) == 0, job.output


@pytest.mark.parametrize("kilobytes, mark", [(100, ""), (1000, ""), (40, "sft update"), (400, "grpo sample")])
def test_files_that_may_not_grow(mini, tmp_path, kilobytes, mark):
    """As a full disk, which a test cannot make: every file has a size that it may not pass."""
    job = mini.copy(tmp_path / "run", *(MADE if mark else MADE[:1]))
    process = job.start()
    wait_for(process, lambda: mark in job.marks or not mark, job)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1024 * kilobytes, 1024 * kilobytes))
    line = said(job, process, 2)
    assert line.startswith("error: ") and "File too large" in line and "the same command goes on" in line
    assert job.run() == 0, job.output
