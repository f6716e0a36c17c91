import dataclasses
import hashlib
import json
import os

import msgpack
import numpy as np
import pytest

from emsa_jax.data import records as R
from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.facts import FACTS
from emsa_jax.data.findings import findings
from emsa_jax.data.records.record import entry_of
from emsa_jax.data.records.records_manifest import write_records_manifest
from emsa_jax.data.records.shards import ShardWriter
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError
from emsa_jax.report.findings_table import findings_lines
from emsa_jax.report.inspect_page import inspect_page
from emsa_jax.report.summary import summarize

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
        ({"score": float("nan")}, "'clip 0' is damaged .score must be a finite number or null, not nan"),
        ({"frame_rate": float("inf")}, "'clip 0' is damaged .frame_rate must be a finite number, not inf"),
    ],
)
def test_numbers_of_a_record_that_are_not_finite(change, message):
    content = msgpack.unpackb(packed(0)[1])
    with pytest.raises(InputError, match=message):
        R.unpack(msgpack.packb({**content, **change}))


BAD = (None, True, -1, 1.5, 2**70, float("nan"), float("inf"), "x", b"x", [], [None], {}, {"a": 1}, [[1]], ["x", "y"])


def spoilt(value):
    """Every value with one thing of it, however deep, replaced by each of BAD, or left out."""
    yield from BAD
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        for other in spoilt(value[key]):
            copy_ = dict(value) if isinstance(value, dict) else list(value)
            copy_[key] = other
            yield copy_
        yield (
            {k: v for k, v in value.items() if k != key} if isinstance(value, dict) else value[:key] + value[key + 1 :]
        )


def assert_one_line(work, *arguments):
    """Runs what is to be refused, or to be understood: nothing but an InputError of one line may come of it."""
    try:
        work(*arguments)
    except InputError as error:
        assert "\n" not in str(error) and "prepare" in str(error) and len(str(error)) < 500, error
        return True
    return False


def test_no_field_of_a_record_is_taken_at_its_word():
    refused = 0
    content = msgpack.unpackb(packed(0, "jpeg")[1])
    whole = [
        *spoilt(content),
        *({**content, "frames": b"xx"} for _ in "a"),
        {**content, "frames_shape": [1, 56, 28, 3]},
    ]
    whole += [{**content, "frames_shape": [3, 2800, 2800, 3]}, {**content, "frames_shape": [3, 57, 28, 3]}]
    for other in whole:
        try:
            record = msgpack.packb(other)
        except (OverflowError, ValueError, TypeError):  # what msgpack cannot spell
            continue
        found = [assert_one_line(read, record) for read in (R.unpack, R.entry, R.unpack_pcm, R.unpack_jpegs)]
        refused += any(found)
    assert refused > 200


def test_no_field_of_an_index_is_taken_at_its_word(tmp_path):
    manifest, made = write(tmp_path / "r", number=2)
    entry = json.loads((tmp_path / "r" / R.INDEX).read_text().splitlines()[0])
    refused = sum(assert_one_line(entry_of, other) for other in spoilt(entry))
    assert refused > 200 and entry_of(entry) == R.entry(made[0])


def test_no_field_of_a_manifest_is_taken_at_its_word(tmp_path):
    directory = tmp_path / "r"
    directory.mkdir()
    writer, made = ShardWriter(directory, "train", 10**9), [packed(i)[1] for i in range(2)]
    for record in made:
        writer.add(record)
    entries = [dataclasses.replace(R.entry(record), notes=("mode val was read as valid",)) for record in made]
    lost = Sample("x", "", -0.5, "valid")
    samples = [Sample(entry.id, entry.text, entry.score, entry.split) for entry in entries]
    told = findings([*samples, lost], entries, {"x": "there is no file /x"}, (-1.0, 1.0), (1, ["y.mp4"]))
    told |= {
        "overlaps": [{"of": "a", "with": "b", "by": "words", "clips": 1, "bare": 0, "among": 2, "examples": ["x"]}]
    }
    told["repeated"]["examples"] = [["a", "b"]]
    quarantined = [{"id": "x", "reason": "there is no file /x"}]
    write_records_manifest(directory, writer.close(), entries, (-1.0, 1.0), quarantined=quarantined, findings=told)
    path = directory / R.MANIFEST
    good = json.loads(path.read_text())
    assert R.read_manifest(directory).findings == told
    refused, passed = 0, []
    for other in spoilt(good):
        path.write_text(json.dumps(other, default=str))
        if assert_one_line(R.read_manifest, directory):
            refused += 1
        else:
            passed.append(R.read_manifest(directory))
            assert_one_line(R.RecordSource, directory, "train")
    counts = {"dataset": "", **summarize(entries, FACTS["plain"])}
    for manifest in passed[::7]:
        inspect_page(manifest, FACTS["plain"], entries, counts, ())
        findings_lines("r", manifest)
    assert refused > 2000 and len(passed) < refused / 3


@pytest.mark.parametrize("text", ["[" * 10**5, '{"schema": 2', "9" * 5000, '"\\ud800"', '{"schema": NaN}', "null"])
def test_a_manifest_that_is_no_object(tmp_path, text):
    (tmp_path / R.MANIFEST).write_text(text)
    assert assert_one_line(R.read_manifest, tmp_path)


def test_a_shard_of_another_set_is_noticed(tmp_path):
    """Of the same name, size and number of records, whatever its ids are."""
    write(tmp_path / "mine", number=3, shard_bytes=10**9)
    for name, other in {"ids": [5, 1, 2], "order": [1, 0, 2]}.items():
        directory = tmp_path / name
        directory.mkdir()
        writer = ShardWriter(directory, "train", 10**9)
        for number in other:
            writer.add(packed(number)[1])
        writer.close()
        theirs, own = (d / "train-00000.array_record" for d in (directory, tmp_path / "mine"))
        assert theirs.stat().st_size == own.stat().st_size
        os.replace(theirs, own)
        with pytest.raises(
            InputError, match=f"record 0 is of 'clip {other[0]}', the index says 'clip 0': the file is not"
        ):
            R.RecordSource(tmp_path / "mine", "train")[0]
        assert R.RecordSource(tmp_path / "mine", "train")[2] == packed(2)[1]


def test_a_record_with_another_label_is_noticed(tmp_path):
    _, made = write(tmp_path / "r", number=1)
    changed = msgpack.packb({**msgpack.unpackb(made[0]), "score": -0.5})
    assert len(changed) == len(made[0])
    (tmp_path / "s").mkdir()
    writer = ShardWriter(tmp_path / "s", "train", 10**9)
    writer.add(changed)
    writer.close()
    os.replace(tmp_path / "s/train-00000.array_record", tmp_path / "r/train-00000.array_record")
    with pytest.raises(InputError, match="record 0 is another one: the file is not of these records"):
        R.RecordSource(tmp_path / "r", "train")[0]


def test_an_index_that_is_not_the_manifests(tmp_path):
    manifest, made = write(tmp_path / "r", number=2)
    path, good = tmp_path / "r" / R.INDEX, json.loads((tmp_path / "r" / R.MANIFEST).read_text())
    first, second = map(json.loads, path.read_text().splitlines())
    for rows, said in {
        "fewer": ([first], "disagree on how many records"),
        "split": ([first, {**second, "split": "test"}], "disagree on how many records"),
        "range": ([first, {**second, "score": -3}], "'clip 1' has the score -3, outside of"),
        "blank": ([first, {}], "an entry is damaged"),
    }.values():
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        hashes = {**good["hashes"], R.INDEX: hashlib.sha256(path.read_bytes()).hexdigest()}
        digest = hashlib.sha256("".join(f"{name} {sha}\n" for name, sha in hashes.items()).encode()).hexdigest()
        (tmp_path / "r" / R.MANIFEST).write_text(json.dumps({**good, "hashes": hashes, "digest": digest}))
        with pytest.raises(InputError, match=said):
            R.read_index(tmp_path / "r", "train")
