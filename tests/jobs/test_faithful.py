"""The card of a policy on disk."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from emsa_jax.errors import InputError
from emsa_jax.jobs.faithful import faithful
from emsa_jax.settings.job_options import FaithfulOptions

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "config.policy: name a directory"),
        ({"policy": "nowhere"}, "config.data: name a directory"),
        ({"policy": "nowhere", "data": "nowhere"}, "nowhere"),
    ],
)
def test_what_is_not_there_is_named(options, message):
    with pytest.raises(InputError, match=message):
        faithful(FaithfulOptions(**options))


@pytest.mark.slow
def test_a_card_is_written_and_nothing_is_asked_twice(tmp_path):
    small = [f"--config.puppets.num_{split}={n}" for split, n in (("train", 40), ("valid", 4), ("test", 8))]

    def start(*arguments):
        command = [sys.executable, "-m", "emsa_jax.main", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    run, out = tmp_path / "run", tmp_path / "card"
    stages = "--config.stages=('prepare','sft')"
    steps = ["--config.sft.epochs=0.0", "--config.sft.max_steps=48", "--config.puppets.trace_share=1.0"]
    start("--config=configs/grpo.py", f"--workdir={run}", "--config.cross.data=", stages, *small, *steps)
    card = [
        "--config=configs/faithful.py",
        f"--config.policy={run / 'sft/policy'}",
        f"--config.data={run / 'records/train'}",
        f"--config.out={out}",
        "--config.max_completion_length=56",
        "--config.resamples=20",
    ]
    start(*card)
    first = (out / "card.json").read_bytes()
    lines = {line["name"]: line for line in json.loads(first)["lines"]}
    assert len(lines) == 24 and (out / "card.md").read_text().count("\n| ") == 25
    assert lines["words removed: still spoken of"]["clips"] == 8
    (log,) = out.glob("asked_*.jsonl")
    asked = log.read_bytes()
    log.write_bytes(asked[: len(asked) // 2])  # as a kill leaves it
    assert "answers are known from before" in start(*card)
    assert (out / "card.json").read_bytes() == first
    assert sorted(log.read_bytes().splitlines()) == sorted(asked.splitlines())
    start(*card)
    assert len(log.read_bytes()) == len(asked)
