import threading
import time
from contextlib import closing

import numpy as np
import pytest

from emsa_jax.data import records as R
from emsa_jax.data.pipeline import Clips, batches
from emsa_jax.data.plan import Plan, batch_at
from emsa_jax.data.records.seal import seal
from emsa_jax.data.records.shards import ShardWriter
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError


@pytest.fixture
def directory(tmp_path):
    options = R.PrepareOptions(frame_format="raw")
    writer = ShardWriter(tmp_path, "train", 20_000)
    entries = []
    for i in range(23):
        frames = np.full((2, 28, 28, 3), i, np.uint8)
        mel, pcm = np.zeros((i, 128)), np.zeros(0, np.int16)
        record = R.pack(Sample(f"c{i}", "", 0.0, "train"), frames, 1.0, mel, pcm, "", options)
        writer.add(record)
        entries.append(R.entry(record))
    assert len(seal(tmp_path, writer.close(), entries, (-1.0, 1.0)).files) > 2
    return tmp_path


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
    path = directory / R.read_manifest(directory).files[0]["name"]
    content = bytearray(path.read_bytes())
    content[200:3000] = bytes(2800)
    path.write_bytes(content)
    with pytest.raises(InputError, match=path.name):
        source = Clips(directory, "train")
        list(batches(source, order, stop_step=order.batches_per_epoch))
