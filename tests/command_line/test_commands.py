from pathlib import Path

import pytest

from emsa_jax.command_line.commands import COMMANDS, OTHERS, command, nearest, overview
from emsa_jax.errors import InputError

CONFIGS = Path(__file__).parents[2] / "configs"


def test_every_config_has_a_command_and_the_reverse():
    assert {one.config for one in COMMANDS.values()} == {path.stem for path in CONFIGS.glob("*.py")}


def test_the_overview_has_a_line_for_each():
    lines = overview().splitlines()
    for name in (*COMMANDS, *OTHERS):
        assert any(line.startswith(f"  {name} ") for line in lines), name
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize(
    "name, found",
    [
        ("hint.treshold", "hint.threshold"),
        ("threshold", "hint.threshold"),
        ("hnt.mode", "hint.mode"),
        ("groupsize", "grpo.group_size"),
    ],
)
def test_nearest_names(name, found):
    known = ["base.hint.threshold", "hint.mode", "hint.threshold", "grpo.group_size", "data"]
    assert nearest(name, known)[0] == found


def test_nothing_is_near():
    assert nearest("xyzzy", ["hint.mode", "data"]) == []


def test_an_unknown_command_names_the_nearest():
    with pytest.raises(InputError, match="there is no command 'trian'; did you mean train?"):
        command("trian")
    with pytest.raises(InputError, match="emsa --help lists all of them"):
        command("xyzzy")
