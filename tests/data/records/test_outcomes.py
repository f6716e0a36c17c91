"""What a killed run leaves, and what the next makes of it."""

import json

import numpy as np
import pytest

from emsa_jax.data import records as R
from emsa_jax.data.data_options import PrepareOptions
from emsa_jax.data.records.outcomes import Outcomes
from emsa_jax.data.sample import Sample


def record(number):
    frames = np.full((1, 28, 28, 3), number, np.uint8)
    options = PrepareOptions(frame_format="raw")
    sample = Sample(str(number), "x", 0.0, "train")
    return R.pack(sample, frames, 1.0, np.zeros((0, 128)), np.zeros(0, np.int16), "", options)


def opened(root):
    for name in ("records", "work"):
        (root / name).mkdir(parents=True, exist_ok=True)
    return Outcomes(root / "records", root / "work", "train", 6_000)  # two records a shard, and a half


def fill(outcomes, numbers):
    for number in numbers:
        if number % 4 == 1:
            outcomes.add(str(number), None, f"reason {number}")
        else:
            outcomes.add(str(number), record(number))


def shards(root):
    return {p.name: p.read_bytes() for p in (root / "records").iterdir()}


@pytest.fixture
def whole(tmp_path):
    outcomes = opened(tmp_path / "whole")
    fill(outcomes, range(14))
    outcomes.close()
    assert len(outcomes.shards) == 4 and len(outcomes.quarantined) == 4
    return outcomes


@pytest.mark.parametrize("stop", range(15))
def test_going_on_after_any_outcome_makes_the_same(tmp_path, whole, stop):
    fill(opened(tmp_path / "again"), range(stop))  # and no more: not even closed
    again = opened(tmp_path / "again")
    assert again.done == {str(n) for n in range(stop)}
    fill(again, range(stop, 14))
    again.close()
    assert (again.shards, again.entries, again.quarantined) == (whole.shards, whole.entries, whole.quarantined)
    assert shards(tmp_path / "again") == shards(tmp_path / "whole")
    finished = opened(tmp_path / "again")
    assert (finished.shards, finished.entries, finished.quarantined) == (again.shards, again.entries, again.quarantined)


def test_a_shard_that_was_cut_but_not_summed_up(tmp_path, whole, monkeypatch):
    """Stopped between the two: the journal is still there, and makes the shard again."""
    root = tmp_path / "again"

    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("emsa_jax.data.records.outcomes.write_atomic", stop)
        fill(opened(root), range(14))
    assert list(shards(root)) == ["train-00000.array_record"]
    again = opened(root)
    assert list(shards(root)) == ["train-00000.array_record"] and len(again.shards) == 1
    fill(again, range(len(again.done), 14))
    again.close()
    assert again.shards == whole.shards and shards(root) == shards(tmp_path / "whole")


def test_a_damaged_shard_is_made_again_with_what_follows(tmp_path, whole):
    root = tmp_path / "again"
    fill(opened(root), range(13))
    damaged = root / "records" / "train-00001.array_record"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    again = opened(root)
    summary = json.loads((root / "work" / "train-00000.json").read_bytes())
    assert again.done == {e["id"] for e in summary["entries"]} | summary["quarantined"].keys()
    fill(again, range(len(again.done), 14))
    again.close()
    assert again.shards == whole.shards and shards(root) == shards(tmp_path / "whole")


@pytest.mark.parametrize("harm", [b"{", b"[]", b'{"shard": null}', "records", "entry", "quarantined"])
def test_a_damaged_summary_is_made_again_with_what_follows(tmp_path, whole, harm):
    root = tmp_path / "again"
    fill(opened(root), range(13))
    path = root / "work" / "train-00001.json"
    summary = json.loads(path.read_bytes())
    if harm == "records":
        summary["shard"]["records"] = -1
    elif harm == "entry":
        summary["entries"][0]["score"] = "0.5"
    elif harm == "quarantined":
        summary["quarantined"] = {"5": 7}
    path.write_bytes(harm if isinstance(harm, bytes) else json.dumps(summary).encode())
    again = opened(root)
    assert len(again.shards) == 1
    fill(again, range(len(again.done), 14))
    again.close()
    assert again.shards == whole.shards and shards(root) == shards(tmp_path / "whole")
