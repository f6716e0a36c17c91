import os
import pickle
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from emsa_jax.data import records as R
from emsa_jax.data.batch_order import Plan, batch_at, boundary_at, parts_at
from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.mixture import Mixed, Part
from emsa_jax.data.pipeline import Clips, DataSource, batches
from emsa_jax.data.prepare import prepare
from emsa_jax.data.records.records_manifest import write_records_manifest
from emsa_jax.data.records.shards import ShardWriter
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def write_records(directory, name, count):
    """Clip i is called <name><i>, has two grey frames of value i and i frames of log-mel."""
    directory.mkdir()
    writer, entries = ShardWriter(directory, "train", 20_000), []
    for i in range(count):
        frames = np.full((2, 28, 28, 3), i, np.uint8)
        mel, pcm = np.zeros((i, 128)), np.zeros(0, np.int16)
        sample = Sample(f"{name}{i}", f"words {i}", None if i == 3 else i / 100, "train", concepts=(("tone", "sad"),))
        writer.add(R.pack(sample, frames, 1.0, mel, pcm, "", PrepareOptions(frame_format="raw")))
        entries.append(R.entry(R.pack(sample, frames, 1.0, mel, pcm, "", PrepareOptions(frame_format="raw"))))
    write_records_manifest(directory, writer.close(), entries, (-1.0, 1.0))
    return directory


@pytest.fixture
def directory(tmp_path):
    made = write_records(tmp_path / "records", "c", 23)
    assert len(list(made.glob("*.array_record"))) > 2
    return made


def plan(directory):
    lengths = [e.mel_frames for e in R.read_index(directory, "train")]
    return Plan(lengths, (10, 22), 4, seed=5)


def test_every_step_from_any_start(directory):
    source, order = Clips(directory, "train"), plan(directory)
    whole = [(s, [c.id for c in b]) for s, b in batches(source, order, stop_step=15)]
    assert [s for s, _ in whole] == list(range(15))
    for step, ids in whole:
        assert ids == [f"c{i}" for i in batch_at(order, step) if i >= 0]
    epoch = [i for _, ids in whole[: order.batches_per_epoch] for i in ids]
    assert sorted(epoch) == sorted(f"c{i}" for i in range(23))
    for start in (1, 7, 14):
        for threads in (1, 6):
            later = batches(source, order, start, 15, num_threads=threads)
            assert [(s, [c.id for c in b]) for s, b in later] == whole[start:]
    assert not list(batches(source, order, 15, 15))


def test_closing_ends_the_threads(directory):
    before = threading.active_count()
    with closing(batches(Clips(directory, "train"), plan(directory))) as endless:
        for expected in range(20):
            step, clips = next(endless)
            assert step == expected and clips[0].frames.shape == (2, 28, 28, 3)
        assert threading.active_count() > before
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_damage_reaches_the_reader(directory):
    source, order = Clips(directory, "train"), plan(directory)
    path = min(directory.glob("*.array_record"))
    content = bytearray(path.read_bytes())
    content[200:3000] = bytes(2800)
    path.write_bytes(content)
    with pytest.raises(InputError, match=path.name):
        source = Clips(directory, "train")
        list(batches(source, order, stop_step=order.batches_per_epoch))


def ids(clips):
    return [clip.id for clip in clips]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_out_the_batches_of_one(directory, processes):
    source, order = Clips(directory, "train"), plan(directory)
    stop = 2 * order.batches_per_epoch
    shared = [batches(source, order, 0, stop, process=p, processes=processes) for p in range(processes)]
    shared = [list(own) for own in shared]
    assert [len(own) for own in shared] == [stop] * processes
    for step, clips in batches(source, order, 0, stop):
        assert [own[step][0] for own in shared] == [step] * processes
        assert sum((ids(own[step][1]) for own in shared), []) == ids(clips)
    last = shared[-1]
    assert min(len(clips) for _, clips in last) < max(len(clips) for _, clips in last) == 4 // processes
    with pytest.raises(InputError, match="a batch of 4 does not divide among 3 processes"):
        next(batches(source, order, process=0, processes=3))


def test_a_view_knows_step_and_row_whatever_the_processes(directory):
    source, order = Clips(directory, "train"), plan(directory)

    def shown(clip, step, row):
        return replace(clip, text=f"{clip.id} {step} {row}")

    whole = list(batches(source, order, 2, 9, view=shown))
    for step, clips in whole:
        assert [clip.text for clip in clips] == [f"{clip.id} {step} {row}" for row, clip in enumerate(clips)]
    shares = [list(batches(source, order, 2, 9, process=p, processes=2, view=shown)) for p in range(2)]
    for (_, clips), *own in zip(whole, *shares, strict=True):
        assert [clip.text for clip in clips] == [clip.text for _, part in own for clip in part]


def test_a_mixture_reads_the_clips_that_its_plan_names(directory, tmp_path):
    sources = [Clips(directory, "train"), Clips(write_records(tmp_path / "b", "d", 5), "train")]
    mixed = Mixed(sources)
    assert len(mixed) == 28 and (mixed[22].id, mixed[23].id, mixed[27].id) == ("c22", "d0", "d4")
    for index in (-1, 28):
        with pytest.raises(IndexError):
            mixed[index]
    lengths = [len(mixed[i].mel) for i in range(28)]
    order = Plan(lengths, (10, 22), 4, 5, parts=(Part("c", 23, 1.0, ""), Part("d", 5, 1.0, "")))
    for step, clips in batches(mixed, order, stop_step=3 * order.batches_per_epoch):
        assert len(clips) == 4
        assert [clip.id[0] for clip in clips] == ["cd"[part] for part in parts_at(order, step)]
        assert max(len(clip.mel) for clip in clips) <= boundary_at(order, step)


def test_a_data_source_gives_arrays(directory):
    source = DataSource(directory, "train")
    assert len(source) == 23
    item = source[4]
    assert all(isinstance(value, np.ndarray) for value in item.values())
    assert item["frames"].shape == (2, 28, 28, 3) and (item["frames"] == 4).all()
    assert item["mel"].shape == (4, 128) and item["mel"].dtype == np.float32
    assert (item["id"].item(), item["text"].item()) == ("c4", "words 4")
    assert item["score"].dtype == np.float32 and item["score"] == np.float32(0.04)
    assert item["concepts"].tolist() == [["tone", "sad"]]
    assert np.isnan(source[3]["score"])
    assert [i["id"].item() for i in source.__getitems__([7, 0, 7])] == ["c7", "c0", "c7"]
    assert [i["id"].item() for i in source] == [f"c{i}" for i in range(23)]
    assert set(item) == {field.name for field in R.Clip.__dataclass_fields__.values()}


HEAVY = ("jax", "jaxlib", "flax", "tensorflow", "torch")


def elsewhere(code, *arguments):
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        text=True,
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.stdout.split()


def test_importing_the_data_room_loads_no_jax():
    code = """
        import importlib, pkgutil, sys
        import emsa_jax.data
        for module in pkgutil.walk_packages(emsa_jax.data.__path__, "emsa_jax.data."):
            importlib.import_module(module.name)
        print(*sys.modules)
    """
    loaded = elsewhere(code)
    assert "emsa_jax.data.pipeline" in loaded and "emsa_jax.data.prepare" in loaded
    assert not set(HEAVY) & set(loaded)


def test_a_loader_process_loads_no_jax(directory, tmp_path):
    for kind, given in ((Clips, "Clip"), (DataSource, "dict")):
        (tmp_path / "source.pkl").write_bytes(pickle.dumps(kind(directory, "train")))
        code = """
            import pickle, sys
            item = pickle.load(open(sys.argv[1], "rb"))[5]
            print(type(item).__name__, item["id"] if isinstance(item, dict) else item.id, *sys.modules)
        """
        type_, name, *loaded = elsewhere(code, tmp_path / "source.pkl")
        assert (type_, name) == (given, "c5") and not set(HEAVY) & set(loaded)


# Python runs this at the start of every process that finds it: it notes who looks for what.
WATCH = """
import os, sys
class Watch:
    def find_spec(name, path=None, target=None):
        if name in ("jax", "tensorflow", "torch", "emsa_jax.data.encode"):
            with open(os.path.join(os.path.dirname(__file__), "seen"), "a") as file:
                file.write(f"{os.getpid()} {name}\\n")
sys.meta_path.insert(0, Watch)
"""


def test_a_decoding_process_loads_no_jax(tmp_path, clip, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    (tmp_path / "clips.csv").write_text("id,text,label,mode,video\na,hello,0.5,train,clip.mp4\n")
    clip(sound=clip.sine(1.0))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    options = PrepareOptions(workers=1)
    prepare(tmp_path / "clips.csv", tmp_path / "out", options, (-1.0, 1.0), "en", progress=lambda items, _: iter(items))
    assert len(Clips(tmp_path / "out", "train")[0].mel) >= 100
    seen = [line.split() for line in (tmp_path / "seen").read_text().splitlines()]
    assert {name for _, name in seen} == {"emsa_jax.data.encode"} and str(os.getpid()) not in {pid for pid, _ in seen}
