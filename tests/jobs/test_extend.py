"""A finished run that goes on: with the same bits as one that was asked for all at once, also where it is killed."""

import json
import os
import signal
import time

import pytest

from emsa_jax.manifest import verify

pytestmark = pytest.mark.slow
MORE = {"grpo.extend": "(3,)", "grpo.extend_rates": "(0.5,)"}
KEPT = ("grpo/adapter", "evaluate/grpo")


@pytest.fixture(scope="module")
def extended(mini, tmp_path_factory):
    job = mini.copy(tmp_path_factory.mktemp("extended") / "run")
    assert job.run(**MORE) == 0, job.output
    return job


def rows_of(job, stage="grpo"):
    rows = [json.loads(line) for line in (job.workdir / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row["stage"] == stage]


def bytes_of(job):
    """What is the same in equal runs."""
    return job.files(*KEPT)


def test_it_begins_where_it_had_ended_with_its_own_schedule(mini, extended):
    before, after = rows_of(mini), rows_of(extended)
    assert after[:3] == before and [row["step"] for row in after] == [1, 2, 3, 4, 5, 6]
    rates = [row["learning_rate"] for row in after]
    assert rates[0] == rates[3] == 0.0 and rates[1:3] == pytest.approx([2 * rate for rate in rates[4:]])
    assert rows_of(mini, "sft") == rows_of(extended, "sft") and "sft: done already" in extended.output


def test_it_is_evaluated_and_exported_anew(mini, extended):
    assert extended.files("grpo/adapter") != mini.files("grpo/adapter")
    assert extended.files("evaluate/sft") == mini.files("evaluate/sft")
    assert all(verify(extended.workdir / "export" / kind) == [] for kind in ("merged", "base", "adapter"))
    weights = "export/merged/model.safetensors"
    assert (extended.workdir / weights).read_bytes() != (mini.workdir / weights).read_bytes()
    assert "grpo.extend" in (extended.workdir / "export/merged/README.md").read_text()


def test_asked_for_at_once_it_is_the_same(mini, extended, tmp_path):
    job = mini.copy(tmp_path / "run", "policy", "puppets", "records", "sft", "stages.json")
    assert job.run(**MORE) == 0, job.output
    assert bytes_of(job) == bytes_of(extended)


def test_killed_in_its_second_phase_it_ends_with_the_same_bits(mini, extended, tmp_path):
    job = mini.copy(tmp_path / "run")
    process = job.start(**MORE)
    while process.poll() is None and "grpo save" not in job.marks:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert job.run(**MORE) == 0, job.output
    assert "going on after step" in job.output
    assert bytes_of(job) == bytes_of(extended)


def test_a_cold_start_is_extended(mini, tmp_path):
    """In a workdir without the GRPO that began with it; the other way it is refused, with nothing changed."""
    more = {"sft.extend": "(4,)", "stages": "('prepare','sft')"}
    job = mini.copy(tmp_path / "refused")
    assert job.run(**more) == 2 and "config.sft.extend" in job.output and "was begun with" in job.output
    job = mini.copy(
        tmp_path / "run", "config.json", "policy", "puppets", "records", "sft", "stages.json", "metrics.jsonl"
    )
    assert job.run(**more) == 0, job.output
    assert [row["step"] for row in rows_of(job, "sft")] == list(range(1, 9))
