"""How many files of the package a GRPO step goes through."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "walk.py"


@pytest.fixture(scope="module")
def walk():
    spec = importlib.util.spec_from_file_location("walk", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_are_counted_by_room(walk):
    files = ["manifest.py", "data/records/record.py", "rollout/hints.py", "training/grpo.py"]
    assert walk.by_room(files) == {
        "": ["manifest.py"],
        "data": ["records/record.py"],
        "rollout": ["hints.py"],
        "training": ["grpo.py"],
    }
    assert walk.counts(files) == (2, 4)


@pytest.mark.slow
def test_a_step_goes_through_few_files(walk):
    loop, _ = walk.files_of_a_step(SCRIPT.parents[1])
    core, whole = walk.counts(loop)
    assert core <= walk.MOST_CORE and whole <= walk.MOST, walk.by_room(loop)
