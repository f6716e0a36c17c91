"""How a process ends: one line, the exit code that says whose turn it is, and a file for what nobody foresaw."""

import errno
import signal
import subprocess
import sys
import time

import pytest

from emsa_jax.disk import DiskFull
from emsa_jax.errors import InputError
from emsa_jax.parallel import interrupts, processes
from emsa_jax.runtime import endings
from emsa_jax.runtime.endings import ending_of


def caused(error, cause):
    """An error that a library has raised while it handled another."""
    error.__context__ = cause
    return error


FULL = OSError(errno.ENOSPC, "No space left on device", "/tmp/a/b.bin")
ENDINGS = {
    "bad input": (InputError("config.x: no\nsuch thing"), 2, "error: config.x: no such thing"),
    "another process": (
        processes.ProcessError("process 1: gone"),
        42,
        "error: another process failed: process 1: gone",
    ),
    "Ctrl-C": (
        KeyboardInterrupt(),
        130,
        "note: stopped by Ctrl-C; what was finished is kept, and the same command goes",
    ),
    "a full disk": (FULL, 2, "error: /tmp/a/b.bin cannot be written: the disk is full ("),
    "a full disk, told already": (DiskFull("x: the disk is full"), 2, "error: x: the disk is full"),
    "a full disk behind another error": (caused(ImportError("sys.meta_path is None"), FULL), 2, "the disk is full ("),
    "a full disk, as C++ says it": (ValueError("RESOURCE_EXHAUSTED: No space left on device"), 2, "the disk is full"),
    "a file that may not grow, as C++ says it": (
        ValueError('OUT_OF_RANGE: Error writing "a/0.0.0": Failed to write: File too large [OS error 27: EFBIG]'),
        2,
        "File too large for the limits of this machine; raise them: what was finished is kept",
    ),
    "a home that is nobody's": (RuntimeError("Could not determine home directory."), 2, "error: a path begins with ~"),
    "a directory in the way": (
        IsADirectoryError(errno.EISDIR, "a directory is in the way", "/run/report.html"),
        2,
        "error: /run/report.html: a directory is in the way; mend that: what was finished is kept",
    ),
    **{
        f"the user's {errno.errorcode[number]}": (
            OSError(number, "what is said", "/data/x.csv"),
            2,
            "error: /data/x.csv: what",
        )
        for number in (errno.EACCES, errno.EROFS, errno.EMFILE, errno.EFBIG, errno.ENOENT, errno.ENOTDIR)
    },
    "too many files, of no name": (OSError(errno.EMFILE, "Too many open files"), 2, "error: Too many open files; mend"),
    **{
        f"our {errno.errorcode[number]}": (OSError(number, "what is said", "/data/x.csv"), 1, "a fault of emsa_jax: ")
        for number in (errno.EINVAL, errno.EBADF, errno.EPIPE, errno.ECHILD, errno.EAGAIN)
    },
    "a file of ours": (
        FileNotFoundError(errno.ENOENT, "No such file", endings.__file__ + "x"),
        1,
        "a fault of emsa_jax",
    ),
    "a program that is not there": (FileNotFoundError(errno.ENOENT, "No such file"), 1, "a fault of emsa_jax: "),
    "a missing file by number": (OSError(errno.ENOENT, "No such file", 7), 1, "a fault of emsa_jax: "),
    "memory": (
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 123 bytes"),
        2,
        "not enough memory for 123 b",
    ),
    "a fault of ours": (KeyError("clip"), 1, "error: this is a fault of emsa_jax: KeyError: 'clip'"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_one_line_and_a_code(name, tmp_path, capsys):
    error, code, line = ENDINGS[name]
    ending = ending_of(error, tmp_path)
    ending.say()
    out, said = capsys.readouterr()
    assert ending.code == code and line in said and said.count("\n") == 1 and out == ""
    assert said.startswith(("error: ", "note: "))
    assert len(list(tmp_path.iterdir())) == (code == 1)


def test_the_traceback_of_a_fault_is_in_the_workdir(tmp_path):
    try:
        interrupts.is_requested(1)
    except TypeError as error:
        ending = ending_of(error, tmp_path)
    (file,) = tmp_path.iterdir()
    assert "Traceback (most recent call last)" in file.read_text() and "is_requested" in file.read_text()
    assert str(file) in ending.line and "the same command goes on" in ending.line
    elsewhere = ending_of(ValueError("x"), tmp_path / "not there")
    assert "fault-" in elsewhere.line and not (tmp_path / "not there").exists()


SCRIPT = """
import signal, sys, time
from emsa_jax.parallel import interrupts, watchdog
from emsa_jax.runtime.endings import ending_of
watchdog.UNHEARD = 0.2
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests may run as a background job, which ignores it
interrupts.listen()
watchdog.watch_signals()
if sys.argv[1] == "compiling":  # Python hears nothing
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
try:
    print("ready", flush=True)
    time.sleep(100)
except KeyboardInterrupt as error:
    ending = ending_of(RuntimeError("as a library wraps it"), None)
    ending.say()
    sys.exit(ending.code)
"""


@pytest.mark.parametrize("where", ["in Python", "compiling"])
def test_ctrl_c(where):
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, where], stdout=-1, stderr=-1, text=True)
    assert process.stdout.readline() == "ready\n"
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and said == interrupts.LINE + "\n" and time.monotonic() - begun < 20
