import csv
import fcntl
import os
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest
import soundfile

from emsa_jax.data.pipeline import Clips
from emsa_jax.data.prepare import prepare
from emsa_jax.data.records import MANIFEST, PrepareOptions, read_index, read_manifest
from emsa_jax.errors import InputError

OPTIONS = PrepareOptions(num_frames=4, workers=1, shard_bytes=50_000)


def quietly(items, total):
    return iter(items)


def run(source, out, options=OPTIONS):
    return prepare(source, out, options, (-1.0, 1.0), "en", progress=quietly)


def write_table(root, rows):
    with open(root / "clips.csv", "w", newline="") as file:
        csv.writer(file).writerows([["id", "text", "label", "mode", "video", "audio"], *rows])
    return root / "clips.csv"


def write_video(path, frames=12):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.height, stream.width, stream.pix_fmt = 56, 84, "yuv420p"
        for i in range(frames):
            image = np.full((56, 84, 3), 20 * i, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture
def data(tmp_path):
    """Three sounds, two videos, a text, a broken video and a missing sound."""
    rng = np.random.default_rng(0)
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", rng.uniform(-0.1, 0.1, 8000 + 100 * i), 16000)
    for i in range(2):
        write_video(tmp_path / f"{i}.mp4", 10 + i)
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    rows = [[f"s{i}", "sound", 0.5, "train", "", f"{i}.wav"] for i in range(3)]
    rows += [["v0", "seen", -1, "train", "0.mp4", ""], ["v1", "both", 1, "valid", "1.mp4", "1.wav"]]
    rows += [["t", "words", "", "test", "", ""], ["b", "", 0, "train", "broken.mp4", ""]]
    rows += [["m", "", 0, "train", "", "missing.wav"]]
    return write_table(tmp_path, rows)


def contents(directory):
    return {name: (directory / name).read_bytes() for name in sorted(os.listdir(directory))}


def test_all_kinds_of_clips(data, tmp_path):
    manifest = run(data, tmp_path / "out")
    assert manifest == read_manifest(tmp_path / "out")
    assert manifest.samples == {"train": 4, "valid": 1, "test": 1}
    assert {s["id"] for s in manifest.quarantined} == {"b", "m"}
    reasons = {s["id"]: s["reason"] for s in manifest.quarantined}
    assert reasons["b"].startswith("video: ") and "there is no file" in reasons["m"]
    assert (manifest.max_frames, manifest.max_pixels, manifest.max_mel_frames) == (4, 56 * 84, 52)
    assert [e.id for e in read_index(tmp_path / "out", "train")] == ["s0", "s1", "s2", "v0"]
    train, valid, test = (Clips(tmp_path / "out", split) for split in ("train", "valid", "test"))
    assert train[0].frames.shape[0] == 0 and train[0].mel.shape == (50, 128)
    assert train[3].frames.shape == (4, 56, 84, 3) and train[3].mel.shape == (0, 128)
    assert valid[0].frames.shape[0] == 4 and valid[0].mel.shape == (51, 128)
    assert test[0].score is None and test[0].text == "words"
    assert (
        sorted(os.listdir(tmp_path / "out"))[0] == "index.jsonl" and not (tmp_path / "out.partial").exists()
    )


def test_same_inputs_same_bytes_whatever_the_workers(data, tmp_path):
    run(data, tmp_path / "a")
    run(data, tmp_path / "b", PrepareOptions(num_frames=4, workers=3, shard_bytes=50_000))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_finished_records_are_reused_or_repaired(data, tmp_path):
    out = tmp_path / "out"
    run(data, out)
    made, stamp = contents(out), os.stat(out / MANIFEST).st_mtime_ns
    run(data, out)
    assert os.stat(out / MANIFEST).st_mtime_ns == stamp
    shard = out / "train-00000.array_record"
    shard.write_bytes(shard.read_bytes()[:-100])
    run(data, out)
    assert contents(out) == made and sorted(os.listdir(tmp_path)).count("out.old") == 0


def test_other_inputs_are_refused(data, tmp_path):
    out = tmp_path / "out"
    run(data, out)
    made = contents(out)
    with pytest.raises(InputError, match="holds records of other clips, labels or options"):
        run(data, out, PrepareOptions(num_frames=5, workers=1))
    data.write_text(data.read_text().replace("words", "other words"))
    with pytest.raises(InputError, match="holds records of other clips"):
        run(data, out)
    assert contents(out) == made
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="exists and holds no records"):
        run(data, tmp_path / "mine")


def test_too_many_broken_clips(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)
    (tmp_path / "b.wav").write_bytes(b"junk")
    rows = [["a", "", 0, "train", "", "a.wav"], ["b", "", 0, "train", "", "b.wav"]]
    rows += [["t", "text", 0, "train", "", ""]]
    with pytest.raises(InputError, match="half or more of the 2 clips are .* the first, b: sound: "):
        run(write_table(tmp_path, rows), tmp_path / "out")
    rows = [[str(i), "", 0, "train", f"{i}.mp4", ""] for i in range(3)]
    with pytest.raises(InputError, match="all of the 3 clips are .* the first, 0: there is no file"):
        run(write_table(tmp_path, rows), tmp_path / "out")
    assert not {"out", "out.partial"} & set(os.listdir(tmp_path))


def test_two_at_once(data, tmp_path):
    (tmp_path / "out.partial").mkdir()
    lock = os.open(tmp_path / "out.partial", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another prepare is writing"):
        run(data, tmp_path / "out")
    os.close(lock)
    run(data, tmp_path / "out")


KILLED = """
import sys
from emsa_jax.data.records import PrepareOptions
from emsa_jax.data.prepare import prepare
def slowly(items, total):
    for n, item in enumerate(items):
        if n == 4:
            print("now", flush=True)
            sys.stdin.read()
        yield item
options = PrepareOptions(num_frames=4, workers=1, shard_bytes=50_000)
prepare(sys.argv[1], sys.argv[2], options, (-1.0, 1.0), "en", progress=slowly)
"""


def test_a_killed_run_leaves_nothing_finished(data, tmp_path):
    out = tmp_path / "out"
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(data), str(out)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": root},
    )  # fmt: skip
    assert process.stdout.readline() == b"now\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists() and (tmp_path / "out.partial").exists()
    with pytest.raises(InputError):
        read_manifest(tmp_path / "out.partial")
    time.sleep(0.1)
    run(data, out)
    run(data, tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")
