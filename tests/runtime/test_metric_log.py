import json
import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from emsa_jax.errors import InputError
from emsa_jax.runtime.metric_log import MetricLog


def curves(directory):
    """(step, name, value) of all scalars that TensorBoard would show."""
    found = []
    for path in directory.iterdir():
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
            at += 16 + length
    return sorted(found)


@pytest.fixture
def start(tmp_path):
    return lambda stage="grpo": MetricLog(tmp_path / "metrics.jsonl", stage, tmp_path / "tensorboard" / stage)


def test_rows(tmp_path, start):
    log = start()
    values = {"loss": np.float32(0.5), "kl": float("nan"), "count": 3, "array": np.ones((1,))}
    log.write(np.int32(1), values)
    row = json.loads((tmp_path / "metrics.jsonl").read_text())  # there before the log is closed
    assert row.pop("time") > 1e9
    assert row == {"stage": "grpo", "step": 1, "loss": 0.5, "kl": None, "count": 3, "array": 1.0}
    assert log.rows()[0]["loss"] == 0.5
    log.close()


def test_a_resumed_run_leaves_no_overlap(tmp_path, start):
    other = start("sft")
    other.write(9, {"loss": 9.0})
    other.close()
    log = start()
    for step in range(1, 6):
        log.write(step, {"loss": float(step)})
    log.close()
    log = start()
    log.truncate_after(3)
    log.write(4, {"loss": 40.0})
    log.close()
    assert [(row["step"], row["loss"]) for row in log.rows()] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0)]
    expected = [(1, "loss", 1.0), (2, "loss", 2.0), (3, "loss", 3.0), (4, "loss", 40.0)]
    assert curves(tmp_path / "tensorboard" / "grpo") == expected
    assert curves(tmp_path / "tensorboard" / "sft") == [(9, "loss", 9.0)]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 5


def test_two_open_logs_survive_a_truncation(start):
    first, second = start("sft"), start("grpo")
    first.write(1, {"loss": 1.0})
    second.write(1, {"loss": 1.0})
    first.truncate_after(0)
    second.write(2, {"loss": 2.0})
    assert [row["step"] for row in second.rows()] == [1, 2]


def test_a_torn_line_is_removed(tmp_path, start):
    log = start()
    log.write(1, {"loss": 1.0})
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"stage": "grpo", "st')
    log = start()
    log.write(2, {"loss": 2.0})
    assert [row["step"] for row in log.rows()] == [1, 2]


@pytest.mark.parametrize(
    "line",
    ["nonsense", "[]", '{"stage": "grpo"}', '{"stage": "grpo", "step": "1"}', '{"stage": "grpo", "step": Infinity}'],
)
def test_a_damaged_line_is_named(tmp_path, start, line):
    (tmp_path / "metrics.jsonl").write_text('{"stage": "grpo", "step": 1}\n' + line + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 2"):
        start()
