"""Prepare, killed: nothing that looks finished is left, and the next run does what is missing, to the same bytes.

PREPARE_KILLS=20 python -m pytest tests/data/test_prepare_kill.py -s
"""

import csv
import os
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.encode import encode
from emsa_jax.data.media import Broken
from emsa_jax.data.prepare import prepare
from emsa_jax.data.records import MANIFEST, verify

KILLS = int(os.environ.get("PREPARE_KILLS", 3))
OPTIONS = PrepareOptions(num_frames=4, workers=1)
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def quietly(items, total):
    return iter(items)


def run(source, out):
    return prepare(source, out, OPTIONS, (-1.0, 1.0), "en", quietly, shard_bytes=150_000)


def contents(directory):
    return {name: (directory / name).read_bytes() for name in sorted(os.listdir(directory))}


def make_data(root, clip, sounds, videos):
    """Sounds, videos, two broken clips, one missing, two texts, over all splits."""
    rng = np.random.default_rng(0)
    rows = [["t0", "words", 0, "train", "", ""], ["t1", "words", 0, "test", "", ""]]
    for i in range(sounds):
        soundfile.write(root / f"{i}.wav", rng.uniform(-0.1, 0.1, 16000 + 100 * i), 16000)
        rows.append([f"s{i}", "", 0.5, ("train", "valid", "train", "test")[i % 4], "", f"{i}.wav"])
    for i in range(videos):
        clip(f"{i}.mp4", frames=8 + i)
        rows.append([f"v{i}", "", 0.5, ("train", "test")[i % 2], f"{i}.mp4", ""])
    (root / "broken.wav").write_bytes(b"not sound")
    rows += [["b0", "", 0, "train", "", "broken.wav"], ["b1", "", 0, "valid", "", "broken.wav"]]
    rows += [["m", "", 0, "train", "", "missing.wav"]]
    random.Random(0).shuffle(rows)
    with open(root / "clips.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "text", "label", "mode", "video", "audio"], *rows])
    return root / "clips.csv"


# ---- SIGKILL at random moments ----

PROGRAM = """
import sys
from emsa_jax.data.prepare import prepare
from emsa_jax.data.data_options import PrepareOptions
def telling(items, total):
    print("begun", flush=True)
    yield from items
options = PrepareOptions(num_frames=4, workers=1)
prepare(sys.argv[1], sys.argv[2], options, (-1.0, 1.0), "en", telling, shard_bytes=150_000)
"""


def start(source, out):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(source), str(out)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert process.stdout.readline() == b"begun\n"
    return process


def test_killed_at_random_moments(tmp_path, clip):
    source = make_data(tmp_path, clip, sounds=24, videos=6)
    began = start(source, tmp_path / "undisturbed")
    began_at = time.monotonic()
    assert began.wait() == 0
    seconds = time.monotonic() - began_at
    whole = contents(tmp_path / "undisturbed")
    assert len(whole) > 8
    kills = finished = rounds = 0
    rng = random.Random(os.environ.get("PREPARE_SEED", "0"))
    while kills < KILLS:
        rounds += 1
        out = tmp_path / f"out{rounds}"
        for _ in range(3):
            process = start(source, out)
            time.sleep(rng.uniform(0, seconds))
            process.kill()
            if process.wait() == 0:  # too late: it was done
                finished += 1
                break
            kills += 1
            if out.exists():
                verify(out)  # killed after all was done
            assert not (out.with_name(out.name + ".partial") / MANIFEST).exists()
        run(source, out)
        assert contents(out) == whole
        assert not out.with_name(out.name + ".partial").exists()
    print(f"\n{kills} kills in {rounds} runs, {finished} of which were done first; undisturbed {seconds:.1f} s")


# ---- stopped before every single file operation ----


class Stopped(BaseException):
    """As a kill, but that this process lives on: prepare has no handler for it that tidies up."""


class Stopping:
    """Raises Stopped before the operation on files of a directory whose number comes up; counts them otherwise."""

    events = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.rmdir", "os.scandir"}

    def __init__(self):
        self.directory, self.left, self.count = None, 0, 0
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if self.directory is None or event not in self.events or not isinstance(arguments[0], str | os.PathLike):
            return
        if not os.fspath(arguments[0]).startswith(self.directory):
            return
        self.count += 1
        if self.count == self.left:
            self.directory = None
            raise Stopped


STOPPING = Stopping()


@pytest.fixture
def inside(monkeypatch):
    """Decodes in this process; the ids that were."""
    ids = []

    def encode_all(tasks, options, timeout_seconds):
        for sample, source in tasks:
            ids.append(sample.id)
            try:
                yield sample, encode(sample, source, options)
            except Broken as broken:
                yield sample, broken

    monkeypatch.setattr("emsa_jax.data.prepare.encode_all", encode_all)
    return ids


def stopped(source, out, number):
    """Runs prepare up to that file operation, or to its end: True."""
    STOPPING.directory, STOPPING.left, STOPPING.count = str(out), number, 0
    try:
        run(source, out)
        return True
    except Stopped:
        return False
    finally:
        STOPPING.directory = None


def test_stopped_before_every_file_operation(tmp_path, clip, inside):
    source = make_data(tmp_path, clip, sounds=7, videos=1)
    run(source, tmp_path / "whole")
    whole, clips = contents(tmp_path / "whole"), len(inside)
    number, again = 0, []
    while True:
        number += 1
        out = tmp_path / f"out{number}"
        inside.clear()
        if stopped(source, out, number):
            break
        if out.exists():
            verify(out)
        run(source, out)
        assert contents(out) == whole, number
        assert not (tmp_path / f"{out.name}.partial").exists(), number
        again.append(len(inside) - clips)
    assert number > 40
    assert max(again) <= 1  # a clip whose outcome had just not been written


def test_a_repair_stopped_before_every_file_operation(tmp_path, clip, inside):
    source = make_data(tmp_path, clip, sounds=3, videos=1)
    run(source, tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    number = 0
    while True:
        number += 1
        out = tmp_path / f"out{number}"
        run(source, out)
        shard = out / "train-00000.array_record"
        shard.write_bytes(shard.read_bytes()[:-1])
        if stopped(source, out, number):
            break
        run(source, out)
        assert contents(out) == whole, number
        assert not (tmp_path / f"{out.name}.partial").exists(), number
    assert number > 20
