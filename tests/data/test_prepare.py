import csv
import dataclasses
import fcntl
import os
import subprocess
import sys

import av
import numpy as np
import pytest
import soundfile

from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.pipeline import Clips
from emsa_jax.data.prepare import prepare
from emsa_jax.data.records import MANIFEST, read_index, read_manifest
from emsa_jax.data.workers import encode_all
from emsa_jax.errors import InputError

OPTIONS = PrepareOptions(num_frames=4, workers=1)


def quietly(items, total):
    return iter(items)


def run(source, out, options=OPTIONS):
    return prepare(source, out, options, (-1.0, 1.0), "en", progress=quietly, shard_bytes=50_000)


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
    assert sorted(os.listdir(tmp_path / "out"))[0] == "index.jsonl" and not (tmp_path / "out.partial").exists()


def test_same_inputs_same_bytes_whatever_the_workers(data, tmp_path):
    run(data, tmp_path / "a")
    run(data, tmp_path / "b", PrepareOptions(num_frames=4, workers=3))
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_finished_records_are_reused_or_repaired(data, tmp_path, monkeypatch):
    out, encoded = tmp_path / "out", []

    def counting(tasks, options, timeout_seconds):
        tasks = list(tasks)
        encoded.append([sample.id for sample, _ in tasks])
        return encode_all(tasks, options, timeout_seconds)

    monkeypatch.setattr("emsa_jax.data.prepare.encode_all", counting)
    run(data, out)
    made, stamp = contents(out), os.stat(out / MANIFEST).st_mtime_ns
    run(data, out)
    assert os.stat(out / MANIFEST).st_mtime_ns == stamp
    shard = out / "valid-00000.array_record"
    shard.write_bytes(shard.read_bytes()[:-100])
    run(data, out)
    assert contents(out) == made and not (tmp_path / "out.partial").exists()
    assert encoded == [["s0", "s1", "s2", "v0", "v1", "t", "b"], ["v1", "b"]]  # what was lost, and what had no record


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
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(100), 16000)
    (tmp_path / "b.wav").write_bytes(b"junk")
    rows = [[str(i), "", 0, "train", "", f"{i}.wav"] for i in range(3)] + [["b", "", 0, "train", "", "b.wav"]]
    table = write_table(tmp_path, [*rows, ["t", "text", 0, "train", "", ""]])
    strict = dataclasses.replace(OPTIONS, max_bad_share=0.2)
    with pytest.raises(InputError, match="1 of the 4 clips with video or sound .* a share of 0.2 .* b: "):
        run(table, tmp_path / "out", strict)
    assert not (tmp_path / "out").exists()
    assert run(table, tmp_path / "out", dataclasses.replace(OPTIONS, max_bad_share=0.25)).samples["train"] == 4
    rows = [[str(i), "", 0, "train", f"{i}.mp4", ""] for i in range(3)]
    with pytest.raises(InputError, match="3 of the 3 clips with video or sound are .* the first, 0: there is no file"):
        run(write_table(tmp_path, rows), tmp_path / "none")
    with pytest.raises(InputError, match="none of the 3 samples of .* could be prepared; the first, 0: there is no"):
        run(write_table(tmp_path, rows), tmp_path / "none", dataclasses.replace(OPTIONS, max_bad_share=1.0))
    assert not (tmp_path / "none").exists()


def test_what_was_begun_with_other_options_is_begun_anew(data, tmp_path):
    def stopping(items, total):
        for number, item in enumerate(items):
            if isinstance(item, tuple) and number == 5:  # a clip that is decoded, not a file that is hashed
                raise KeyboardInterrupt
            yield item

    with pytest.raises(KeyboardInterrupt):
        prepare(data, tmp_path / "out", OPTIONS, (-1.0, 1.0), "en", stopping, shard_bytes=50_000)
    assert (tmp_path / "out.partial").exists() and not (tmp_path / "out").exists()
    other = dataclasses.replace(OPTIONS, num_frames=3)
    run(data, tmp_path / "out", other)
    run(data, tmp_path / "fresh", other)
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_what_is_no_file_is_quarantined(data, tmp_path):
    (tmp_path / "loop.mp4").symlink_to(tmp_path / "loop2.mp4")
    (tmp_path / "loop2.mp4").symlink_to(tmp_path / "loop.mp4")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    with open(data, "a") as file:
        file.write("loop,,0,train,loop.mp4,\npipe,,0,train,,pipe.wav\n")
        file.write("folder,,0,train,folder.mp4,\nempty,,0,train,empty.mp4,\n")
    manifest = run(data, tmp_path / "out", dataclasses.replace(OPTIONS, max_bad_share=0.7))
    reasons = {q["id"]: q["reason"] for q in manifest.quarantined}
    assert list(reasons) == ["b", "m", "loop", "pipe", "folder", "empty"]  # in the order of the samples
    assert "symbolic links" in reasons["loop"]
    assert "is not a file" in reasons["pipe"] and "is not a file" in reasons["folder"]
    assert reasons["empty"].startswith("video: ")
    assert manifest.samples == {"train": 4, "valid": 1, "test": 1}


def test_clips_of_one_long_file(tmp_path):
    write_video(tmp_path / "film.mp4", 12)
    with open(tmp_path / "clips.csv", "w") as file:
        file.write("id,text,label,mode,video,audio,start,end\n")
        file.writelines(f"c{i},,0,train,film.mp4,,{i / 10},{i / 10 + 0.3}\n" for i in range(9))
        file.write("late,,0,train,film.mp4,,2.0,2.5\n")
    manifest = run(tmp_path / "clips.csv", tmp_path / "out")
    clips = Clips(tmp_path / "out", "train")
    assert [round(clips[i].frames[0].mean() / 20) for i in range(9)] == list(range(9))
    assert {len(clips[i].frames) for i in range(9)} == {3}
    assert [q["id"] for q in manifest.quarantined] == ["late"]
    assert "the clip from 2 to 2.5 s is not within its 1.20 s" in manifest.quarantined[0]["reason"]


def test_frames_a_second_and_lengths(data, tmp_path):
    options = dataclasses.replace(OPTIONS, fps=5.0)
    manifest = prepare(
        data, tmp_path / "out", options, (-1.0, 1.0), "en", quietly, token_length=lambda e: 100 * (1 + len(e.text))
    )
    assert [e.num_frames for e in read_index(tmp_path / "out", "train")] == [0, 0, 0, 4]  # 5 in the second, so 4
    assert manifest.quantiles["frames"]["1"] == 4 and manifest.quantiles["seconds"]["1"] == pytest.approx(1.1)
    assert manifest.quantiles["tokens"] == {
        "0": 500,
        "0.25": 500,
        "0.5": 600,
        "0.75": 600,
        "0.9": 600,
        "0.95": 600,
        "0.99": 600,
        "1": 600,
    }
    assert manifest.boundaries == [640]  # a second one would save a tenth
    longer = prepare(
        data, tmp_path / "out", options, (-1.0, 1.0), "en", quietly, token_length=lambda e: 2000
    )  # another policy's prompts: the records stay
    assert longer.boundaries == [2048] and longer == read_manifest(tmp_path / "out")
    assert longer.digest == manifest.digest


def test_two_at_once(data, tmp_path):
    (tmp_path / "out.partial").mkdir()
    lock = os.open(tmp_path / "out.partial", os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(InputError, match="another prepare is writing"):
        run(data, tmp_path / "out")
    os.close(lock)
    run(data, tmp_path / "out")


ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIMITED = """
import resource, sys
from emsa_jax.data.prepare import prepare
from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.errors import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
options = PrepareOptions(num_frames=4, workers=1)
try:
    prepare(sys.argv[1], sys.argv[2], options, (-1.0, 1.0), "en", progress=lambda items, total: iter(items),
            shard_bytes=50_000)
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize("room", [30, 20_000, 66_000])
def test_a_full_disk(data, tmp_path, room):
    """No file may grow beyond `room` bytes: the first file, the journal, or a shard cannot be written."""
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(data), str(out), str(room)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ROOT},
    )
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1, done.stderr
    assert "cannot be written" in done.stdout and "out.partial" in done.stdout
    assert "too large" in done.stdout or "No space left" in done.stdout
    assert not out.exists()
    assert not [name for name in os.listdir(tmp_path / "out.partial") if name == MANIFEST]
    run(data, out)
    run(data, tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_folder_that_is_not_ours_is_left_alone(data, tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="out.partial exists and is not ours"):
        run(data, tmp_path / "out")
    assert (tmp_path / "out.partial" / "thesis.txt").exists()
    run(data, tmp_path / "other")
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "thesis.txt").write_text("x")
    run(data, tmp_path / "other")
    assert (tmp_path / "other.partial" / "thesis.txt").exists()
