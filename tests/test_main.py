"""The program itself, as a process of its own."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from emsa_jax.config.edge import from_config_dict
from emsa_jax.main import ALONE
from emsa_jax.settings.config import Config
from emsa_jax.settings.presets import PRESETS

ROOT = Path(__file__).parents[1]


def start(*arguments):
    return subprocess.run([sys.executable, "-m", "emsa_jax.main", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_without_a_config():
    done = start()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: say what to do: --config=configs/grpo.py, or another file of configs/\n"


def test_an_unknown_field(tmp_path):
    done = start("--config=configs/grpo.py", f"--workdir={tmp_path / 'run'}", "--config.grpo.group_sice=4")
    assert (done.returncode, done.stdout) == (2, "") and not (tmp_path / "run").exists()
    assert done.stderr == "error: config.grpo.group_sice is not a known field; did you mean config.grpo.group_size?\n"


def test_help_names_the_flags():
    done = start("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(flag in done.stdout for flag in ("--workdir=DIR", "--config=FILE", "--config.FIELD=VALUE"))


def config_of(name, preset=""):
    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(preset)


@pytest.mark.parametrize("name", sorted({path.stem for path in (ROOT / "configs").glob("*.py")} - set(ALONE)))
def test_every_config_is_sound(name):
    """Each file of configs/ that makes a run, and each preset of it, makes a config that passes every check."""
    for preset in PRESETS:
        config = from_config_dict(Config, config_of(name, preset))
        assert config.stages and (config.loss.kind == "seq_sum") == preset.endswith("thinker")


@pytest.mark.parametrize("name", ALONE)
def test_every_job_that_needs_no_run_is_found(name):
    module = importlib.import_module(f"emsa_jax.jobs.{name}")
    options = from_config_dict(
        getattr(module, f"{name.capitalize()}Options"), config_of(name, "bench" if name == "ablation" else "")
    )
    assert options.job == name and callable(getattr(module, name))


def test_an_unknown_job():
    done = start("--config=configs/inspect.py", "--config.job=inspekt")
    assert (done.returncode, done.stderr) == (2, f"error: config.job: 'inspekt' is none of {', '.join(ALONE)}\n")
