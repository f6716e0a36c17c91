"""A full disk is told with what was to be written, what is free, and what is kept."""

import errno

import pytest

from emsa_jax.append_log import AppendLog, JsonLines
from emsa_jax.disk import DiskFull, disk_full, is_full, told_when_full
from emsa_jax.manifest import staged, write_atomic
from emsa_jax.runtime.metric_log import MetricLog


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_line_says_what_there_is_to_know(tmp_path):
    line = str(disk_full(tmp_path / "run/a", 2_500_000, "step 3"))
    assert line.startswith(f"{tmp_path / 'run/a'} cannot be written: the disk is full (it takes about 2.5 MB, and ")
    assert "B are free); step 3 is kept: make room, and the same command goes on" in line and "\n" not in line


def test_a_full_disk_is_known_behind_other_errors():
    with pytest.raises(DiskFull, match="12 bytes"), told_when_full("/tmp/x", 12):
        try:
            full()
        except OSError as error:
            raise ImportError("at the end of Python") from error
    with pytest.raises(KeyError), told_when_full("/tmp/x"):
        raise KeyError("x")
    assert is_full(OSError(errno.EDQUOT, "x")) and not is_full(OSError(errno.EACCES, "x")) and not is_full(None)


def test_a_device_that_is_full():
    with pytest.raises(DiskFull, match="/dev/full cannot be written: the disk is full"), told_when_full("/dev/full", 5):
        with open("/dev/full", "w") as file:
            file.write("hello")


def test_what_writes_tells_it(tmp_path, monkeypatch):
    log, rows = AppendLog(tmp_path / "log.jsonl", JsonLines()), MetricLog(tmp_path / "m.jsonl", "sft", tmp_path / "tb")
    log.append({"a": 1})
    rows.write(1, {"loss": 1.0})
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull, match="page.html cannot be written: the disk is full .it takes about 3 bytes"):
        write_atomic(tmp_path / "page.html", b"abc")
    with pytest.raises(DiskFull, match="policy cannot be written: the disk is full .it takes about 7 kB"):
        with staged(tmp_path / "policy", needed=7000) as part:
            (part / "a").write_text("a")
    assert not list(tmp_path.glob("*polic*")) and not list(tmp_path.glob("*page*"))
    rows.path = "/dev/full"
    with pytest.raises(DiskFull, match="/dev/full"):
        rows.write(2, {"loss": 1.0})
    rows.close()
