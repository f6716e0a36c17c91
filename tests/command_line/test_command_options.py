from typing import Literal

import pytest

from emsa_jax.command_line.command_options import choices, commands_with, defaults, fields, keeps_workdir, presets
from emsa_jax.command_line.commands import COMMANDS


def test_what_a_command_takes_is_a_field_of_it():
    for name, one in COMMANDS.items():
        assert not one.takes or one.takes in fields(one), name


def test_fields_presets_and_directories():
    assert commands_with("tables") == ["ablation"] and "plan" in commands_with("hint.mode")
    assert "smol" in presets(COMMANDS["train"]) and presets(COMMANDS["inspect"]) == ()
    assert defaults(COMMANDS["train"], "cd_grpo").format == "concepts"
    kept = {name for name, one in COMMANDS.items() if not keeps_workdir(one)}
    assert {"compare", "inspect", "plan"} <= kept and not kept & {"train", "report", "ablation", "features"}


@pytest.mark.parametrize(
    "annotation, texts",
    [
        (bool, ("True", "False")),
        (Literal["a", 3], ("a", "3")),
        (Literal["auto"] | float, ("auto",)),
        (float | None, ("none",)),
        (str, ()),
        (tuple[str, ...], ()),
    ],
)
def test_choices(annotation, texts):
    assert choices(annotation) == texts
