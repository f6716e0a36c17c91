import io
import os
import pickle
import resource
import signal
import struct
import time

import numpy as np
import pytest

from emsa_jax.data.features import read_features
from emsa_jax.errors import InputError

N, SIZES = 4, {"text": (5, 8), "audio": (7, 3), "vision": (6, 2)}
NUMPY_1 = {b"numpy._core.multiarray": b"numpy.core.multiarray", b"numpy._core.numeric": b"numpy.core.numeric"}


def part(seed=0, n=N, lengths=True):
    """As MMSA writes it; features in all of the dtypes and memory orders that it may come in."""
    rng = np.random.default_rng(seed)
    text, audio, vision = (rng.normal(size=(n, *size)) for size in SIZES.values())
    made = {
        "raw_text": [f"我不想 {i}" for i in range(n)],
        "id": np.array([f"video_{seed}$_${i:04d}" for i in range(n)]),
        "text": text.astype(np.float32),
        "text_bert": rng.integers(0, 30_000, (n, 3, 5)).astype(np.float32),
        "audio": audio,
        "vision": np.asfortranarray(vision.astype(">f4")),
        "audio_lengths": [7, 2, 9, 1][:n],
        "vision_lengths": np.array([6, 1, 3, 2][:n]),
        "annotations": np.array(["Negative", "Neutral", "Positive", float("nan")][:n], object),
        "classification_labels": np.array([0, 1, 2, 2][:n]),
        "regression_labels": np.linspace(-1, 1, n),
        "regression_labels_T": [np.float32(0.5)] * n,
    }
    if not lengths:
        del made["audio_lengths"], made["vision_lengths"]
    return made


def whole(**keywords):
    return {name: part(seed, **keywords) for seed, name in enumerate(("train", "valid", "test"))}


def dump(value, protocol=4, numpy_1=False):
    content = pickle.dumps(value, protocol)
    if numpy_1:  # the names of that time, their own length before them where there is one
        for new, old in NUMPY_1.items():
            content = content.replace(bytes([len(new)]) + new, bytes([len(old)]) + old).replace(new, old)
    return content


@pytest.fixture
def read(tmp_path):
    def read(content):
        path = tmp_path / "features.pkl"
        path.write_bytes(content)
        return read_features(path)

    return read


@pytest.mark.parametrize("numpy_1", [False, True])
@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_and_numpy(read, protocol, numpy_1):
    made = whole()
    content = dump(made, protocol, numpy_1)
    assert (b"numpy._core" in content) != numpy_1
    found = read(content)
    assert list(found) == ["train", "valid", "test"]
    for name, features in found.items():
        for key in SIZES:
            array = getattr(features, key)
            assert array.dtype == np.float32 and array.shape == (N, *SIZES[key])
            np.testing.assert_array_equal(array, made[name][key].astype(np.float32))
        assert features.text_bert.dtype == np.int32
        np.testing.assert_array_equal(features.text_bert, made[name]["text_bert"])
        assert features.id == tuple(made[name]["id"]) and features.raw_text == tuple(made[name]["raw_text"])
        assert features.annotations == ("Negative", "Neutral", "Positive", "")
        assert features.audio_lengths.tolist() == [7, 2, 7, 1] and features.vision_lengths.tolist() == [6, 1, 3, 2]
        np.testing.assert_array_equal(features.regression_labels, np.linspace(-1, 1, N).astype(np.float32))
        np.testing.assert_array_equal(features.regression_labels_T, np.float32([0.5] * N))
        assert features.regression_labels_A is None and features.unread == ("classification_labels",)
        assert len(features) == N


class Python2Pickler(pickle._Pickler):
    """Writes strings and bytes as Python 2 did: both as bytes."""

    def save_8_bit(self, value):
        data = value.encode() if isinstance(value, str) else value
        short = len(data) < 256
        self.write((b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data))) + data)
        self.memoize(value)

    dispatch = {**pickle._Pickler.dispatch, str: save_8_bit, bytes: save_8_bit}


def test_files_of_python_2(read):
    made, file = whole(), io.BytesIO()
    Python2Pickler(file, 2).dump(made)
    found = read(file.getvalue())["train"]
    assert found.raw_text == tuple(made["train"]["raw_text"])
    np.testing.assert_array_equal(found.text, made["train"]["text"])
    np.testing.assert_array_equal(found.vision, made["train"]["vision"])


def test_aligned_files_and_few_keys(read):
    made = {"train": part(lengths=False)}
    for key in ("raw_text", "text_bert", "annotations", "regression_labels_T"):
        del made["train"][key]
    found = read(dump(made))["train"]
    assert found.audio_lengths is found.vision_lengths is found.text_bert is found.raw_text is None


def test_infinities_and_gaps_become_zero(read):
    made = {"test": part()}
    for key in SIZES:
        made["test"][key] = made["test"][key].copy()
        for place, value in (((0, 1, 1), -np.inf), ((1, 0, 1), np.inf), ((2, 0, 0), np.nan)):
            made["test"][key][place] = value
    found = read(dump(made))["test"]
    for key in SIZES:
        expected = np.nan_to_num(made["test"][key].astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
        assert expected[0, 1, 1] == expected[1, 0, 1] == expected[2, 0, 0] == 0
        np.testing.assert_array_equal(getattr(found, key), expected)
        assert found.replaced[key] == 3


def test_unlabelled_clips(read):
    made = part() | {"mask": np.array([1, 0, 1, 0])}
    made["regression_labels"][1] = np.nan
    found = read(dump({"train_mix": made}))["train_mix"]
    assert np.isnan(found.regression_labels).tolist() == [False, True, False, True]
    assert np.isnan(found.regression_labels_T).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    "change, complaint",
    [
        (dict(audio=None), "train has no 'audio'"),
        (dict(id=["a", "b"]), r"train: text has shape \[4, 5, 8\], expected \[2, any, any\]"),
        (dict(raw_text=["a", "b"]), "train: raw_text has 2 rows, but there are 4 ids"),
        (dict(id=["a", "b", "", "d"]), "train: row 2 has no id"),
        (dict(id=["a", "b", 3, "d"]), "train: id is no list of strings"),
        (dict(id="abcd"), "train: id is no list of strings"),
        (dict(audio=np.zeros((3, 7, 3))), r"train: audio has shape \[3, 7, 3\], expected \[4, any, any\]"),
        (dict(vision=np.zeros((4, 7))), r"train: vision has shape \[4, 7\]"),
        (dict(text=np.array(["a"] * 4)), "train: text is no array of numbers"),
        (dict(text=[[1.0]] * 4), "train: text is no array of numbers"),
        (dict(audio=np.full((4, 1, 1), 1e300)), "train: audio holds 1e.300, beyond"),
        (dict(text_bert=np.full((4, 3, 5), 0.5)), "train: text_bert holds 0.5, which is no integer of 32 bits"),
        (dict(text_bert=np.zeros((4, 2, 5))), "train: text_bert has shape"),
        (dict(audio_lengths=[1, 2, -3, 4]), "train: audio_lengths holds -3; a length cannot be negative"),
        (dict(audio_lengths=[10**400] * 4), "train: audio_lengths is no array of numbers"),
        (dict(regression_labels=np.array([0, 0, np.nan, 0])), r"regression_labels of 'video_0\$_\$0002' is nan"),
        (dict(regression_labels=[0.0, 1e300, 0.0, 0.0]), r"regression_labels of 'video_0\$_\$0001' is inf"),
        (dict(annotations=np.array([{}, 1, 2, 3])), "not a sound pickle of arrays"),
        (dict(audio=np.zeros(4, "c8")), "an array of dtype 'c8'"),
        (dict(audio=np.zeros(4, "f4,f4")), "an array of dtype 'V8'"),
        (dict(audio=np.zeros(4, "M8[s]")), "an array of dtype 'M8'"),
    ],
)
def test_files_that_disagree_with_themselves(read, change, complaint):
    with pytest.raises(InputError, match=f"features.pkl.*{complaint}"):
        read(dump({"train": part() | change}))


def test_other_files(read, tmp_path):
    for content, complaint in (
        (b"", "cannot be read: it is empty"),
        (b"id,text\n", "not a sound pickle"),
        (dump([1, 2]), "holds none of train, valid, test"),
        (dump({"dev": {}}), "holds none of"),
        (dump({"train": part(), "dev": part()}), "holds a part 'dev'"),
        (dump({"train": [1]}), "train is no dict"),
        (dump(whole())[:-1], "not a sound pickle"),
        (dump(whole())[:2000], "not a sound pickle"),
    ):
        with pytest.raises(InputError, match=complaint):
            read(content)
    for path in (tmp_path / "missing.pkl", tmp_path):
        with pytest.raises(InputError, match="cannot be read: "):
            read_features(path)


# ---- files that want more than to be read ----


class Calls:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(6))
def test_code_is_refused_by_name(read, protocol, tmp_path):
    for function, name in (
        (os.system, "posix.system"),
        (eval, "eval"),
        (np.load, "load"),
        (np.memmap, "memmap"),
        (getattr, "getattr"),
        (pickle.loads, "loads"),
    ):
        done = tmp_path / "done"
        with pytest.raises(InputError, match=rf"it asks for [\w.]*{name}, which may run code"):
            read(dump({"train": part() | {"extra": Calls(function, f"touch {done}")}}, protocol))
        assert not done.exists()


def test_code_is_refused_in_every_spelling(read):
    for content in (
        b"cos\nsystem\n.",
        b"(S'ls'\nios\nsystem\n.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02cposix\nsystem\n)\x81.",
        b"(cposix\nsystem\no.",
    ):
        with pytest.raises(InputError, match=r"it asks for (os|posix)\.system, which"):
            read(content)
    for content, opcode in (
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"P1\n.", "PERSID"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"\x80\x02N)\x81.", "NEWOBJ"),
    ):
        with pytest.raises(InputError, match=f"it uses the pickle opcode {opcode}, which no array needs"):
            read(content)


def array_of(shape, dtype_state, content, dtype="f4"):
    """A pickle of one array, whose claims are free."""

    class Dtype:
        def __reduce__(self):
            return np.dtype, (dtype, False, True), dtype_state

    class Array:
        def __reduce__(self):
            make, arguments, _ = np.zeros(1).__reduce__()
            return make, arguments, (1, shape, Dtype(), False, content)

    return dump({"train": part() | {"audio": Array()}})


LITTLE = (3, "<", None, None, None, -1, -1, 0)


def test_claims_are_not_believed(read):
    for shape in ((10**12,), (2**40, 2**40), (2**62, 4), (3,), (0, 2**62), (-1,), (2,) * 70):
        for content in (bytes(8), b""):
            with pytest.raises(InputError, match="it holds an array"):
                read(array_of(shape, LITTLE, content))
    # as real pointers: NumPy itself takes a forged dtype of objects for one without, and the bytes for objects
    for dtype in ("O8", "O"):
        with pytest.raises(InputError, match="not a sound pickle"):
            read(array_of((2,), (3, "|", None, None, None, -1, -1, 0), bytes(range(16)), dtype))
    with pytest.raises(InputError, match="array of structures"):
        read(array_of((2,), (3, "|", None, ("a",), {"a": 1}, 4, 1, 0), bytes(8)))
    for dtype in ("U0", "S0", "V8", "f16", "U9999999", "O16", "f4,O", "object"):
        with pytest.raises(InputError, match="an array of dtype"):
            read(array_of((2**47,), LITTLE, b"", dtype))


def test_giants_cost_nothing(read):
    giant = struct.pack("<Q", 2**40)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    deep, same = b"\x80\x04)" + b"\x85" * 300_000, b"\x80\x04]\x94" + b"(h\x00e" * 1000
    key = b"\x80\x04}" + b")" + b"\x85" * 300_000 + b"K\x00s."  # hashing it would end the process
    call = b"\x80\x04)" + b"\x85" * 300_000 + b")R."
    for content in (
        b"\x80\x04N" + b"r\xff\xff\xff\xff" + b".",
        b"\x80\x04\x8e" + giant + b"abc.",
        b"\x80\x05\x96" + giant + b"abc.",
        b"\x80\x04\x8d" + giant + b"abc.",
        b"\x80\x04\x95" + giant + b"N.",
        b"\x80\x02\x8b\xff\xff\xff\x7f1.",
        b"\x80\x02T\xff\xff\xff\x7f1.",
        b"I" + b"9" * 300_000 + b"\n.",
        deep + b".",
        same + b".",
        key,
        call,
    ):
        begun = time.process_time()
        with pytest.raises(InputError):
            read(content)
        assert time.process_time() - begun < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base < 400_000  # kB


def test_one_content_for_many_arrays_is_refused(read):
    content = bytes(200_000)

    class Same:
        def __reduce__(self):
            make, arguments, _ = np.zeros(1).__reduce__()
            return make, arguments, (1, (len(content),), np.dtype("i1"), False, content)

    with pytest.raises(InputError, match="its arrays claim more than the file holds"):
        read(dump({"train": part() | {f"extra{i}": Same() for i in range(3)}}))


NASTY = [
    b"r\xff\xff\xff\xff",
    b"\x8e" + b"\xff" * 8,
    b"\x96" + b"\xff\xff\xff\xff\xff\x00\x00\x00",
    b"R",
    b"b",
    b".",
    b"(",
    b"t",
    b"\x94",
    b"s",
    b"h\x00",
    b"cos\nsystem\n",
    b"\x85" * 50,
    b"T\xff\xff\xff\x7f",
    b"}",
    b"]",
    b"a",
    b"e",
    b"u",
    b"\x93",
    b"0",
    b"1",
    b"2",
    b"O8",
    b"V8",
    b"U0",
    struct.pack("<q", 2**60),
]


def mutated(content, rng):
    """A few bytes flipped, cut out, doubled or replaced by opcodes that are trouble."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        at, size = int(rng.integers(len(content))), int(rng.integers(1, 40))
        kind = rng.integers(5)
        if kind == 0:
            content[at] = rng.integers(256)
        elif kind == 1 and len(content) > 100:
            del content[at : at + size]
        elif kind == 2:
            content[at:at] = content[at : at + size]
        elif kind == 3:
            content[at : at + rng.integers(2) * size] = NASTY[rng.integers(len(NASTY))]
        else:
            begin = int(rng.integers(len(content)))
            content[at : at + size] = content[begin : begin + size]
    return bytes(content)


def test_mutated_files_are_read_or_refused(read):
    rng, outcomes = np.random.default_rng(0), {"read": 0, "refused": 0}
    originals = [dump({"train": part(n=2)}, protocol, numpy_1) for protocol in range(6) for numpy_1 in (False, True)]
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def hangs(signum, frame):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, hangs)
    try:
        for number in range(3000):
            content = mutated(originals[number % len(originals)], rng)
            signal.alarm(10)
            try:
                for features in read(content).values():
                    assert np.isfinite(features.audio).all() and len(features.regression_labels) == len(features)
                outcomes["read"] += 1
            except InputError as error:
                assert "\n" not in str(error) and len(str(error)) < 600
                outcomes["refused"] += 1
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert min(outcomes.values()) > 100, outcomes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base < 200_000  # kB
