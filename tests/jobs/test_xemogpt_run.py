"""XEmoGPT's stage 3 from end to end on annotated puppets: three kinds of instruction, GRPO on cues, an export that is a
policy like any other."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from emsa_jax.policy import hf
from emsa_jax.policy.bridge_files import published_table
from emsa_jax.policy.parameter_table import get

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIZES = {
    "puppets.num_train": 24,
    "puppets.num_valid": 8,
    "puppets.num_test": 8,
    "prepare.workers": 1,
    "sft.epochs": 0,
    "sft.max_steps": 4,
    "sft.batch_size": 4,
    "sft.eval_every": 4,
    "sft.optimizer.warmup": 0,
    "grpo.max_steps": 2,
    "grpo.prompts_per_step": 4,
    "grpo.group_size": 2,
    "grpo.micro_batches": 1,
    "grpo.optimizer.warmup": 0,
    "evaluate.batch_size": 8,
    "evaluate.samples": 0,
    "export": "('merged','bridges')",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(workdir, what was printed)."""
    workdir = tmp_path_factory.mktemp("xemogpt") / "run"
    command = [sys.executable, "-m", "emsa_jax.main", "--config=configs/grpo.py:puppets_xemogpt"]
    command += [f"--workdir={workdir}", *(f"--config.{name}={value}" for name, value in SIZES.items())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return workdir, done.stdout


def test_it_learns_and_is_judged(run):
    workdir, said = run
    assert "cues: 24 clips to learn from" in said and "encodings of frozen towers" in said
    rows = [json.loads(line) for line in (workdir / "evaluate/grpo/train/predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 8 and set(rows[0]["rewards"]) == {"format", "accuracy", "cue_f1", "length", "total"}
    config = json.loads((workdir / "policy/config.json").read_text())
    assert config["model_type"] == "emsa_policy" and config["vision_bridge_config"]["positions"] == 16


def test_the_export_is_a_policy_with_bridges(run):
    workdir, _ = run
    config, merged = hf.load(workdir / "export/merged")
    _, base = hf.load(workdir / "sft/policy")
    assert config.bridged
    for tower in ("audio", "vision"):  # encoders stay; bridges are the adapter's to move
        frozen = (merged[tower]["layers"]["fc1"]["weight"] == base[tower]["layers"]["fc1"]["weight"]).all()
        assert frozen and "bridge" in merged[tower]
    published = load_file(workdir / "export/bridges/model.safetensors")
    for spec in published_table(config):
        stack = get(merged, spec.path)
        for n in range(spec.layers or 1):
            np.testing.assert_array_equal(published.pop(spec.disk.format(n=n)), stack[n] if spec.layers else stack)
    assert not published
