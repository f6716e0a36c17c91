"""The program itself, as a process of its own."""
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("name", sorted({path.stem for path in (ROOT / "configs").glob("*.py")}
                                        - {"inspect", "compare", "ablation", "annotate", "benchmark"}))
def test_every_config_is_sound(name):
    """Each file of configs/ that makes a run, and each preset of it, makes a config that passes every check."""
    import importlib.util

    from emsa_jax.config import from_config_dict
    from emsa_jax.jobs.options import Config
    from emsa_jax.jobs.presets import PRESETS

    spec = importlib.util.spec_from_file_location(name, ROOT / "configs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for preset in PRESETS:
        config = from_config_dict(Config, module.get_config(preset))
        assert config.stages and (config.loss.kind == "seq_sum") == preset.endswith("thinker")
