"""`emsa_jax.run`: runs over seeds out of a program."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import emsa_jax
from emsa_jax.errors import InputError
from emsa_jax.report.seed_results import SeedResults

ROOT = Path(__file__).parents[2]
TINY = {
    "puppets": {"num_train": 8, "num_valid": 4, "num_test": 4},
    "prepare.workers": 1,
    "cross.data": "",
    "sampling": {"max_completion_length": 16},
    "evaluate": {"batch_size": 4, "samples": 0, "resamples": 20},
}


def test_importing_loads_no_jax():
    code = "import sys, emsa_jax; emsa_jax.run; print('jax' in sys.modules, 'numpy' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    "given, said",
    [
        ({"seeds": []}, "name at least one"),
        ({"seeds": [1, 1]}, "none twice"),
        ({"seed": 1}, "name it in seeds"),
        ({"grpo": {"max_step": 1}}, "config.grpo.*max_step"),
        ({"policy.name": 1}, "config.policy.name: policy is no group"),
        ({"preset": "none"}, "is no preset"),
        ({"source": "x"}, "set config.data"),
        ({"puppets.num_train": -1}, "puppets.num_train"),
    ],
)
def test_what_is_wrong_is_named_before_anything_is_made(tmp_path, given, said):
    with pytest.raises(InputError, match=said):
        emsa_jax.run("tiny", "puppets:en", workdir=tmp_path / "runs", **given)
    assert not list(tmp_path.glob("runs/[0-9]*"))


def test_two_seeds_are_evaluated_and_kept(tmp_path, capfd):
    asked = {"workdir": tmp_path, "stages": ("prepare", "evaluate"), **TINY}
    found = emsa_jax.run("tiny", "puppets:en", [0, 1], **asked)
    assert isinstance(found, SeedResults) and found.seeds == (0, 1)
    assert found.workdirs == {seed: tmp_path / str(seed) for seed in (0, 1)}
    assert [json.loads((path / "config.json").read_text())["seed"] for path in found.workdirs.values()] == [0, 1]
    (data,) = found.runs[0].results
    rewards = found.metrics[data]["reward (greedy)"]
    written = [
        json.loads((path / "evaluate/zero_shot/train/metrics.json").read_text())["rewards"]["total"]
        for path in found.workdirs.values()
    ]
    assert list(rewards.values.values()) == written and rewards.mean == pytest.approx(sum(written) / 2)
    assert {run.policy for run in found.runs} == {"zero_shot"} and "Policy: zero_shot." in found.to_markdown()
    capfd.readouterr()
    again = emsa_jax.run("tiny", "puppets:en", [1, 0], **asked)
    assert again.metrics[data]["reward (greedy)"].values == dict(reversed(rewards.values.items()))
    assert "evaluating" not in capfd.readouterr().err  # nothing was asked anew


@pytest.mark.slow
def test_seeds_are_trained(tmp_path):
    """The whole job for two seeds, whose policies differ; a third one is added to them."""
    small = {
        "sft": {"max_steps": 2, "batch_size": 4, "eval_every": 2, "optimizer": {"warmup": 1.0}},
        "grpo": {"max_steps": 2, "prompts_per_step": 2, "group_size": 2, "micro_batches": 1, "optimizer.warmup": 1.0},
    }
    found = emsa_jax.run("tiny", "puppets:en", [0, 1], workdir=tmp_path, **TINY, **small)
    assert {run.policy for run in found.runs} == {"grpo"} and all(run.status for run in found.runs)
    adapter = "grpo/adapter/adapter_model.safetensors"
    weights = [(path / adapter).read_bytes() for path in found.workdirs.values()]
    assert weights[0] != weights[1] and (tmp_path / "0/export/merged/README.md").exists()
    more = emsa_jax.run("tiny", "puppets:en", [0, 1, 2], workdir=tmp_path, **TINY, **small)
    assert [(path / "grpo/adapter/adapter_model.safetensors").read_bytes() for path in more.workdirs.values()][
        :2
    ] == weights
    assert more.runs[:2] == found.runs
