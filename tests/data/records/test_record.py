import dataclasses
import json
import os

import msgpack
import numpy as np
import pytest

from emsa_jax.data import records as R
from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.records.records_manifest import write_records_manifest
from emsa_jax.data.records.shards import ShardWriter
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

LABELS = {
    "label": "happy",
    "concepts": (("tone", "sarcastic"), ("scenario", "vlogs")),
    "speaker": "Ada 爱达",
    "reasoning": "In the video, she smiles.",
}


def packed(number, frame_format="raw", split="train"):
    rng = np.random.default_rng(number)
    frames = rng.integers(0, 256, (3, 56, 28, 3), dtype=np.uint8)
    mel = rng.standard_normal((5, 128)).astype(np.float32)
    pcm = rng.integers(-32768, 32767, 800).astype(np.int16)
    sample = Sample(f"clip {number}", "words 词", 0.5, split, language="zh", **LABELS)
    options = PrepareOptions(frame_format=frame_format)
    return (frames, mel, pcm), R.pack(sample, frames, 2.5, mel, pcm, "sha", options)


def write(directory, number=6, shard_bytes=40_000):
    os.makedirs(directory)
    writer = ShardWriter(directory, "train", shard_bytes)
    made = [packed(i)[1] for i in range(number)]
    for record in made:
        writer.add(record)
    return write_records_manifest(directory, writer.close(), list(map(R.entry, made)), (-1.0, 1.0)), made


def test_raw_records_come_back_exactly():
    (frames, mel, pcm), record = packed(0)
    clip = R.unpack(record)
    same = dict(id="clip 0", text="words 词", score=0.5, split="train", language="zh", **LABELS)
    assert {name: getattr(clip, name) for name in same} == same
    np.testing.assert_array_equal(clip.frames, frames)
    np.testing.assert_array_equal(clip.mel, mel.astype(np.float16).astype(np.float32))
    assert clip.mel.dtype == np.float32 and clip.frame_rate == 2.5
    np.testing.assert_array_equal(R.unpack_pcm(record), pcm)
    entry = R.entry(record)
    assert entry == R.Entry(**same, num_frames=3, height=56, width=28, frame_rate=2.5, mel_frames=5, source="sha")
    assert entry.seconds == pytest.approx(3 / 2.5)


def test_jpeg_records_come_back_closely():
    smooth = np.linspace(0, 255, 56 * 28 * 3).reshape(1, 56, 28, 3).astype(np.uint8)
    nothing = np.zeros((0, 128)), np.zeros(0, np.int16)
    clip = R.unpack(R.pack(Sample("a", "", None, "test"), smooth, 1.0, *nothing, "", PrepareOptions()))
    assert np.abs(clip.frames.astype(int) - smooth).mean() < 2
    assert clip.mel.shape == (0, 128) and clip.score is None


def test_shards_and_index(tmp_path):
    manifest, made = write(tmp_path / "r")
    assert len(manifest.files) > 1 and sum(f["records"] for f in manifest.files) == 6
    assert R.read_manifest(tmp_path / "r") == manifest
    R.verify(tmp_path / "r")
    source = R.RecordSource(tmp_path / "r", "train")
    assert [source[i] for i in range(len(source))] == made
    assert R.read_index(tmp_path / "r", "train") == [R.entry(record) for record in made]
    assert len(R.RecordSource(tmp_path / "r", "test")) == 0
    assert not [name for name in os.listdir(tmp_path / "r") if name.endswith(".tmp")]


def test_same_records_same_bytes(tmp_path):
    assert write(tmp_path / "a")[0].digest == write(tmp_path / "b")[0].digest


def test_missing_and_cut_shards_are_named(tmp_path):
    manifest, _ = write(tmp_path / "r")
    path = tmp_path / "r" / manifest.files[1]["name"]
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match=f"{path.name} has {len(content) - 1} bytes"):
        R.RecordSource(tmp_path / "r", "train")
    path.unlink()
    with pytest.raises(InputError, match=f"{path.name} is missing"):
        R.RecordSource(tmp_path / "r", "train")


def test_flipped_bits_never_pass(tmp_path):
    manifest, made = write(tmp_path / "r", number=3, shard_bytes=10**9)
    path = tmp_path / "r" / manifest.files[0]["name"]
    content = path.read_bytes()
    rng, raised = np.random.default_rng(0), 0
    for position in rng.integers(0, len(content), 100).tolist():
        path.write_bytes(content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :])
        with pytest.raises(InputError, match=path.name):
            R.verify(tmp_path / "r")
        try:
            source = R.RecordSource(tmp_path / "r", "train")
            assert [source[i] for i in range(3)] == made  # the flip hit padding
        except InputError as error:
            assert path.name in str(error)
            raised += 1
    assert raised > 20


def test_manifest_is_checked(tmp_path):
    with pytest.raises(InputError, match="run prepare"):
        R.read_manifest(tmp_path)
    write(tmp_path / "r")
    path = tmp_path / "r" / R.MANIFEST
    good = json.loads(path.read_text())
    broken = [
        {**good, "schema": 1},
        {**good, "extra": 1},
        {**good, "samples": {"train": 5}},
        {**good, "hashes": {}},
        [],
        {**good, "digest": ""},
    ]
    for content in broken:
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match="prepare the data again"):
            R.read_manifest(tmp_path / "r")
    path.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        R.read_manifest(tmp_path / "r")


@pytest.mark.parametrize("record", [b"", b"\xc1", b"\x80", b"\x93\x01\x02\x03"])
def test_foreign_bytes_are_no_record(record):
    with pytest.raises(InputError):
        R.unpack(record)


@pytest.mark.parametrize(
    "field, value",
    [
        ("frame_format", "png"),
        ("num_frames", 0),
        ("max_pixels", 783),
        ("fps", -1.0),
        ("max_seconds", 0.0),
        ("workers", -1),
    ],
)
def test_options_are_checked(field, value):
    with pytest.raises(InputError, match=field):
        dataclasses.replace(PrepareOptions(), **{field: value})


@pytest.mark.parametrize(
    "change, message",
    [
        ({"mel": np.full(128, np.nan, "<f2").tobytes()}, "'clip 0' does not decode .its spectrogram is not finite"),
        ({"score": float("nan")}, "'clip 0' has the score nan"),
        ({"frame_rate": float("inf")}, "'clip 0' has the frame_rate inf"),
    ],
)
def test_numbers_of_a_record_that_are_not_finite(change, message):
    content = msgpack.unpackb(packed(0)[1])
    with pytest.raises(InputError, match=message):
        R.unpack(msgpack.packb({**content, **change}))
