from dataclasses import replace

import pytest

from emsa_jax.errors import InputError
from emsa_jax.settings.config import Config
from emsa_jax.settings.help import EXPERIMENTAL, config_lines, help_lines
from emsa_jax.settings.job_options import JOBS


@pytest.mark.parametrize("options", [Config, *JOBS.values()])
def test_a_line_for_each_field(options):
    lines = help_lines(options())
    assert len(set(lines)) == len(lines)
    for line in lines:
        assert line in ("", EXPERIMENTAL) or line.startswith("--config.") and len(line.split("  ")) == 3, line


def test_one_group_with_those_inside_it():
    names = [line.partition("=")[0] for line in help_lines(Config(), "sft")]
    assert "--config.sft.epochs" in names and "--config.sft.optimizer.learning_rate" in names
    assert all(name.startswith("--config.sft.") for name in names)
    with pytest.raises(InputError, match="--help=tone: no such group of fields; this job has none"):
        help_lines(JOBS["inspect"](), "tone")


def test_origins():
    preset = replace(Config(), dtype="bfloat16", stages=("sft",))
    options = replace(preset, seed=3)
    lines = config_lines(options, preset, ["seed", "modality_dropout.text"], ("mine", "configs/sft.py"))
    found = dict(line.removeprefix("--config.").rsplit("  ", 1) for line in lines)
    assert found["seed=3"] == "command line" and found["dtype=bfloat16"] == "preset mine"
    assert found["stages=('sft',)"] == "configs/sft.py" and found["lora.rank=64"] == "default"
    assert found["modality_dropout={'text':0.0,'audio':0.0,'video':0.0}"] == "command line"


def test_one_field():
    assert [line.partition("=")[0] for line in help_lines(Config(), "hint.mode")] == ["--config.hint.mode"]
    assert [line.partition("=")[0] for line in help_lines(Config(), "policy")] == ["--config.policy"]
