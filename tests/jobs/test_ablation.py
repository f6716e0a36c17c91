"""A table from nothing, in its smallest form: every kind of cell, stopped and gone on with, nothing compiled twice."""

import json
import os
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from emsa_jax.config.edge import to_dict
from emsa_jax.errors import InputError
from emsa_jax.experiments.arms import MANY, PAPER, TABLES, changed, lengthened, swapped
from emsa_jax.jobs.ablation import ablation
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import AblationOptions
from emsa_jax.settings.presets import ablation_options, bench

ROOT = Path(__file__).parents[2]
SIZES = {
    "puppets.num_train": 24,
    "puppets.num_valid": 8,
    "puppets.num_test": 8,
    "puppets.trace_share": 1.0,
    "prepare.workers": 1,
    "sampling.max_completion_length": 80,
    "sft.max_steps": 2,
    "sft.batch_size": 8,
    "sft.eval_every": 2,
    "sft.save_every": 2,
    "grpo.max_steps": 2,
    "grpo.prompts_per_step": 4,
    "grpo.save_every": 2,
    "evaluate.batch_size": 8,
}
COUNTED = """
import sys, jax
from emsa_jax import main
count = [0]
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: count.__setitem__(0, count[0] + event.endswith("backend_compile_duration")))
from emsa_jax.experiments import cells
make = cells.Cells.make
def counted(self, arm, seed):
    before = count[0]
    cell = make(self, arm, seed)
    print("compiled in", arm.name, seed, count[0] - before, flush=True)
    return cell
cells.Cells.make = counted
main._run(sys.argv)
"""


def test_every_arm_is_a_config():
    base = bench()
    for table in TABLES.values():
        assert table.baseline in {arm.name for arm in table.arms}
        for arm in table.arms:
            config = changed(changed(base, arm.start), arm.changes)
            assert is_dataclass(config)
            assert config != base or arm.stage != "grpo" or arm.changes["hint.mode"] == "hint"
            assert not any(config.modality_dropout.values())  # but for the start
    same = {}
    for arm in (arm for table in TABLES.values() for arm in table.arms):  # one name is one thing
        key = (
            to_dict(dict(arm.changes)),
            to_dict(dict(arm.start)),
            arm.stage,
            arm.swapped,
            arm.steps,
            arm.evaluates,
            arm.continues,
        )
        assert same.setdefault(arm.name, key) == key
    assert {"paper", "off", "two_loss", "nll_hard", "drop_hard"} < MANY < set(same)
    options = ablation_options("bench")
    assert options.seeds_of(PAPER) == 8 and options.seeds_of(replace(PAPER, name="longer")) == 3


def test_changes_reach_their_fields():
    config = changed(Config(), {"hint.mode": "off", "adv.scale": "none", "format": "label_only"})
    assert (config.hint.mode, config.adv.scale, config.format) == ("off", "none", "label_only")
    assert {f.name for f in fields(Config) if getattr(config, f.name) != getattr(Config(), f.name)} == {
        "hint",
        "adv",
        "format",
    }
    with pytest.raises(InputError, match="hint_mode"):
        changed(Config(), {"hint_mode": "off"})
    turned = swapped(bench(), "")
    assert (turned.data, turned.cross.data, turned.cross.asked_as) == ("puppets:zh", "puppets:en", "train")
    with pytest.raises(InputError, match="second domain"):
        swapped(Config(), "")


def test_names_are_checked():
    with pytest.raises(InputError, match="hint, hints"):
        ablation_options("hintz")
    with pytest.raises(InputError, match="none of"):
        AblationOptions(tables=("nothing",))


def test_a_table_on_ones_own_data():
    """Another preset's recipe under the same arms; nothing is made of it while something named is not there."""
    base = ablation_options("hint@msa_thinker").base
    assert (base.dtype, base.sft.trainable, base.sft.micro_batches) == ("bfloat16", "lora", 0)
    assert lengthened(base.grpo, 1.25).epochs == 1.25 * base.grpo.epochs and not base.grpo.max_steps
    assert lengthened(bench().grpo, 1.25).max_steps == 50
    with pytest.raises(InputError, match="'papers' is no preset of configs/grpo.py"):
        ablation_options("hint@papers")


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"policy": "/nowhere"}, "policy /nowhere: no such directory"), ({"data": ""}, "config.data")],
)
def test_what_is_not_there_is_told_before_anything_is_made(tmp_path, fields, message):
    options = ablation_options("hint")
    with pytest.raises(InputError, match=message):
        ablation(replace(options, base=replace(options.base, **fields)), tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


@pytest.mark.slow
def test_a_table_cell_by_cell(tmp_path):
    workdir = tmp_path / "tables"
    arguments = [
        "--config=configs/ablation.py:bench",
        "--config.tables=('hint',)",
        f"--workdir={workdir}",
        "--config.seeds=2",
        "--config.hint_seeds=2",
        "--config.minutes=0.01",
        *(f"--config.base.{name}={value}" for name, value in SIZES.items()),
    ]

    def run():
        done = subprocess.run(
            [sys.executable, "-c", COUNTED, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first = run()
    assert "ablation: 12 cells to make" in first and "11 cells are left" in first
    assert "1 of 2" in (workdir / "tables/hint.md").read_text()
    arguments.remove("--config.minutes=0.01")
    rest = run()
    assert "ablation: 11 cells to make" in rest
    compiled = {
        tuple(line.split()[2:4]): int(line.split()[4]) for line in rest.splitlines() if line.startswith("compiled in")
    }
    assert len(compiled) == 11
    assert not {arm: count for (arm, seed), count in compiled.items() if seed == "1" and count and arm != "zero_shot"}
    cells = [json.loads(path.read_text()) for path in sorted((workdir / "cells").glob("*.json"))]
    assert len(cells) == 12 and all(np.isfinite(cell["values"]["prefix_logp"]) for cell in cells)
    for seed in (0, 1):
        (hard,) = (workdir / f"seed{seed}").glob("start_*/hard.json")
        held = json.loads(hard.read_text())
        assert held["clips"] == 8 and held["answers"] == 4
        counts = {cell["values"]["hard_clips"] for cell in cells if cell["seed"] == seed}
        assert counts == {len(held["hard"])}
    assert "2 of 2" in (workdir / "tables/hint.md").read_text()
    assert {path.name for path in (workdir / "tables").iterdir()} == {
        "hint.csv",
        "hint.md",
        "hint.tex",
        "hint_differences.csv",
    }
    assert "ablation: 0 cells to make" in run()
