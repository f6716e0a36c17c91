"""Real processes on one machine: what many give is what one gives, and a run goes on on other processes."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from emsa_jax.data.batch_order import batch_at
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.rollout.training_set import open_train

MESHES = {"data 4": {"mesh.data": 4}, "fsdp 4": {"mesh.fsdp": 4}, "tensor 2 x data 2": {"mesh.tensor": 2}}
CLOCKED = (
    "time",
    "mfu",
    "step_time",
    "data_time",
    "eval_time",
    "decode_tok_s",
    "peak_gb",
    "compilations",
    "hint/extra_gen_time",
)
STEPS = 3


@pytest.fixture(scope="session")
def order(world) -> list[list[str]]:
    """The clips of each step."""
    config = world.config(world.fields)
    train = open_train(config, Path(config.data), open_checkpoint(config.policy, weights=False))
    plan = train.plan(config.grpo.prompts_per_step, config.seed, drop_remainder=True)
    return [[train.entries[i].id for i in batch_at(plan, step)] for step in range(STEPS)]


@pytest.fixture(scope="session")
def hard(order) -> list[str]:
    """Hard samples: of the first step those of its last shard, of the second none, of the third all."""
    found = [*order[0][-2:], *order[2]]
    assert len(set(found)) == 10 and not set(found) & set(order[1])
    return found


@pytest.fixture(scope="session")
def alone(world, hard) -> Path:
    """The run of one process with one device."""
    codes, output = world.run({"alone": world.fields}, 1, 1, hard=hard)
    assert codes == [0] and "memory of each device" in output, output
    return world.path("alone")


@pytest.fixture(scope="session")
def together(world, hard) -> dict[str, Path]:
    """Runs of two processes with two devices each, on three meshes."""
    jobs = {name: world.fields | mesh for name, mesh in MESHES.items()}
    codes, output = world.run(jobs, 2, 2, hard=hard)
    assert codes == [0, 0], output
    return {name: world.path(name) for name in jobs}


def adapters(directory: Path, stage: str) -> dict[str, np.ndarray]:
    return load_file(directory / stage / "adapter" / "adapter_model.safetensors")


def metrics(directory: Path) -> list[dict]:
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith(CLOCKED)} for row in rows]


def completions(directory: Path) -> list[list[dict]]:
    """What was written of each step; log-probabilities, which differ in their last bits, to three digits."""
    files = sorted((directory / "grpo" / "completions").iterdir())
    steps = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    return [[row | {"prefix_logp": pytest.approx(row["prefix_logp"], abs=1e-3)} for row in step] for step in steps]


def assert_equal_runs(ours: Path, theirs: Path) -> None:
    for stage in ("sft", "grpo"):
        a, b = adapters(ours, stage), adapters(theirs, stage)
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=0, atol=1e-5, err_msg=f"{stage}: {name}")
    for a, b in zip(metrics(ours), metrics(theirs), strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"stage", "step"}:
            assert a[name] == pytest.approx(b[name], rel=1e-3, abs=1e-5, nan_ok=True), (a["stage"], a["step"], name)


def test_the_run_learns_and_hints(alone, order):
    """Else the comparisons below would compare nothing."""
    moved = {name: np.abs(value).max() for stage in ("sft", "grpo") for name, value in adapters(alone, stage).items()}
    assert min(moved.values()) > 1e-4
    change = [np.abs(adapters(alone, "grpo")[name] - value).max() for name, value in adapters(alone, "sft").items()]
    assert min(change) > 1e-4
    steps = completions(alone)
    assert [[row["id"] for row in step] for step in steps] == order
    assert [[row["id"] for row in step if row["hinted"]] for step in steps] == [order[0][-2:], [], order[2]]
    assert any(set(row["rewards"]) != {row["rewards"][0]} for step in steps for row in step)


@pytest.mark.parametrize("mesh", MESHES)
def test_processes_give_what_one_gives(alone, together, mesh):
    """Parameters, metrics and every answer; with all hard samples on one shard, none, and all of them hard."""
    assert_equal_runs(together[mesh], alone)
    assert completions(together[mesh]) == completions(alone)


@pytest.mark.slow
def test_processes_align_as_one_does(world):
    """In closed form and by gradient, and then train the projector whole beside LoRA, cut over processes."""
    fields = world.fields | {"lora.also": ["audio.proj", "vision.merger_norm"], "align.towers": ["audio", "vision"]}
    fields |= {"align.batch_size": 8, "align.max_steps": 2}
    jobs = {
        "closed": fields | {"stages": ["align", "sft"]},
        "gradient": fields | {"stages": ["align"], "align.method": "gradient", "align.targets": "captions"},
    }
    codes, output = world.run(jobs, 1, 1)
    assert codes == [0], output
    cut = {f"{name} apart": job | {"mesh.fsdp": 4} for name, job in jobs.items()}
    codes, output = world.run(cut, 2, 2)
    assert codes == [0, 0], output
    for name in jobs:
        ours, theirs = (load_file(world.path(run, "align/policy/model.safetensors")) for run in (name, f"{name} apart"))
        assert ours.keys() == theirs.keys()
        for tensor in ours:
            np.testing.assert_allclose(ours[tensor], theirs[tensor], rtol=0, atol=1e-5, err_msg=f"{name}: {tensor}")
    a, b = (adapters(world.path(name), "sft") for name in ("closed", "closed apart"))
    assert a.keys() == b.keys() and any("audio_tower.proj" in name for name in a)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_processes_expect_as_one_does(world):
    """Expected scores of an evaluation and as a reward, where devices divide clips, weights, heads and vocabulary."""
    fields = world.fields | {"format": "label_only", "hint.mode": "off", "evaluate.samples": 0, "grpo.max_steps": 2}
    fields |= {"stages": ["grpo", "evaluate"], "reward.score": "expected", "evaluate.decode": "expected"}
    codes, output = world.run({"expected": fields}, 1, 1)
    assert codes == [0], output
    apart = {f"expected {name}": fields | MESHES[name] for name in ("fsdp 4", "tensor 2 x data 2")}
    codes, output = world.run(apart, 2, 2)
    assert codes == [0, 0], output
    ours = adapters(world.path("expected"), "grpo")
    assert max(np.abs(value).max() for name, value in ours.items() if "lora_B" in name) > 1e-5
    for policy in ("zero_shot", "grpo"):
        rows = expected_rows(world.path("expected"), policy)
        assert len(set(rows.values())) == 4 and all(-1 < score < 1 for score in rows.values())
        for name in apart:
            assert expected_rows(world.path(name), policy) == pytest.approx(rows, abs=1e-4)
    for name in apart:
        theirs = adapters(world.path(name), "grpo")
        for tensor, value in ours.items():
            np.testing.assert_allclose(value, theirs[tensor], rtol=0, atol=1e-5, err_msg=f"{name}: {tensor}")


def expected_rows(directory: Path, policy: str) -> dict[str, float]:
    """Clip id -> the score that its answer is expected to name."""
    file = directory / "evaluate" / policy / "train" / "predictions.jsonl"
    return {row["id"]: row["score"] for row in map(json.loads, file.read_text().splitlines())}


def test_told_to_stop_all_save_and_go_on_elsewhere(world, alone, order, hard):
    """SIGTERM to process 1 in the second step's rewards: both save the step before it and end with 42. One process
    with four devices, on another mesh, goes on."""
    fields = world.fields | {"grpo.save_every": 10}
    codes, output = world.run({"stopped": fields | MESHES["data 4"]}, 2, 2, hard=hard, stop_at=order[1][-1])
    assert codes == [42, 42], output
    assert output.count("told to stop: grpo is saved at step 1") == 1
    steps = world.path("stopped", "grpo", "checkpoints")
    assert [path.name for path in steps.iterdir()] == ["1"]

    one = {"stopped": fields | MESHES["tensor 2 x data 2"]}
    codes, output = world.run(one, 1, 4, hard=hard)
    assert codes == [0] and "going on after step 1 of grpo" in output and "sft: done already" in output, output
    assert_equal_runs(world.path("stopped"), alone)
    assert completions(world.path("stopped")) == completions(alone)


def test_processes_that_differ_are_told(world):
    """Where a pod would hang."""
    fields = world.fields
    codes, output = world.run({"unlike": fields}, 2, 2, each={1: {"seed": 1}})
    assert codes == [2, 2] and "process 1 has config.seed 1, but process 0 0; give the same command" in output, output
    codes, output = world.run({"apart": fields}, 2, 2, workdirs={1: "elsewhere"})
    assert codes == [2, 2] and "apart is not shared: process 1 does not see" in output, output
    codes, output = world.run({"uneven": fields | {"grpo.prompts_per_step": 6, "stages": ["grpo"]}}, 2, 2)
    assert codes == [2, 2] and "grpo.prompts_per_step 6 must be a multiple of the 4 parts" in output, output
