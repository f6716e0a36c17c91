"""200 single flipped bits in the checkpoints and exports of a run: each is noticed before anything is used."""

import json
import logging
import random
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from emsa_jax.errors import InputError
from emsa_jax.learning.checkpoints import Checkpoints
from emsa_jax.policy import hf, peft
from emsa_jax.policy.hf_config import read_config

CHECKPOINTS = ("sft/checkpoints", "grpo/checkpoints")
POLICIES = ("policy", "sft/policy", "export/merged", "export/base")
ADAPTERS = ("grpo/adapter", "export/adapter")


def flips(directory: Path, count: int, seed: int):
    """Flips `count` bits of the files below a directory, one at a time: large files and small ones."""
    chance = random.Random(seed)
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path.stat().st_size)
    for _ in range(count):
        path = chance.choice(paths) if chance.random() < 0.5 else max(paths, key=lambda p: p.stat().st_size)
        at, bit = chance.randrange(path.stat().st_size), chance.randrange(8)
        flip(path, at, bit)
        yield path
        flip(path, at, bit)


def flip(path: Path, at: int, bit: int) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def abstract_of(step: Path) -> dict[str, jax.ShapeDtypeStruct]:
    """The arrays of a checkpoint, by the names and shapes that it lists."""
    arrays = json.loads((step / "meta.json").read_text())["arrays"]
    split = {name: text.removesuffix("]").split("[") for name, text in arrays.items()}
    return {
        name: jax.ShapeDtypeStruct(tuple(map(int, filter(None, shape.split(",")))), dtype)
        for name, (dtype, shape) in split.items()
    }


def equal(a, b) -> bool:
    return jax.tree.all(jax.tree.map(lambda x, y: np.array_equal(np.asarray(x), np.asarray(y)), a, b))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints_fall_back_to_the_step_before(mini, tmp_path, caplog, name):
    """50 each: one warning that names step and file, and the values of the step before, to the bit."""
    shutil.copytree(mini.workdir / name, tmp_path / "checkpoints")
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    before, newest = checkpoints.steps()
    abstract = abstract_of(checkpoints.directory / str(newest))
    state, _, step = checkpoints.restore_newest(abstract)
    assert step == newest
    shutil.move(checkpoints.directory / str(newest), tmp_path / "newest")
    older, _, step = checkpoints.restore_newest(abstract)
    assert step == before and not equal(state, older)
    shutil.move(tmp_path / "newest", checkpoints.directory / str(newest))
    for number, path in enumerate(flips(checkpoints.directory / str(newest), 50, seed=1)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            state, _, step = checkpoints.restore_newest(abstract)
        (line,) = [record.getMessage() for record in caplog.records]
        assert step == before and str(checkpoints.directory / str(newest)) in line and path.name in line
        assert number % 10 or equal(state, older)
    assert checkpoints.restore_newest(abstract)[2] == newest


@pytest.mark.parametrize("name", POLICIES + ADAPTERS)
def test_policies_and_adapters_are_refused(mini, tmp_path, name):
    """17 each: the error names directory and file."""
    directory = tmp_path / "damaged"
    shutil.copytree(mini.workdir / name, directory)
    config = read_config(mini.workdir / "policy")

    def load():
        return peft.load_adapter(directory, config) if name in ADAPTERS else hf.load(directory)

    load()
    for path in flips(directory, 17, seed=2):
        with pytest.raises(InputError) as error:
            load()
        assert str(directory) in str(error.value) and path.name in str(error.value)
    load()


def test_a_run_that_goes_on_notices(mini, tmp_path):
    """Through the main job: the newest checkpoint damaged, and the export; both come out as they were."""
    copy = mini.copy(tmp_path / "run")
    shutil.rmtree(copy.workdir / "grpo" / "adapter")
    state = copy.workdir / "grpo" / "checkpoints" / "3"
    flip(max((path for path in state.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size), 1000, 3)
    flip(copy.workdir / "export" / "merged" / "model.safetensors", 10**6, 0)
    assert copy.run() == 0, copy.output
    assert "going on after step 2 of grpo" in copy.output
    assert copy.output.count("damaged") == 1 and f"{state} is damaged" in copy.output
    assert "stage export is done again" in copy.output
    assert copy.files("grpo/adapter", "export", "evaluate") == mini.files("grpo/adapter", "export", "evaluate")


def test_a_damaged_policy_ends_the_run(mini, tmp_path):
    """The policy that a run starts from is nothing it could make again from what it has."""
    copy = mini.copy(tmp_path / "run")
    flip(copy.workdir / "policy" / "model.safetensors", 10**6, 0)
    shutil.rmtree(copy.workdir / "sft" / "policy")
    assert copy.run() == 2
    assert "error: " in copy.output.splitlines()[-1] and "model.safetensors" in copy.output.splitlines()[-1]
    assert not (copy.workdir / "sft" / "policy").exists()
