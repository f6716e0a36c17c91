import subprocess

import pytest

from emsa_jax.command_line.command_options import fields
from emsa_jax.command_line.commands import COMMANDS, OTHERS
from emsa_jax.command_line.completion import completion
from emsa_jax.errors import InputError


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """What bash offers for a command line, the cursor at its end."""
    directory = tmp_path_factory.mktemp("completion")
    (directory / "emsa.bash").write_text(completion("bash"))
    (directory / "clips.csv").touch()
    script = """
        source emsa.bash
        COMP_LINE=$1 COMP_POINT=${#1}
        read -ra COMP_WORDS <<< "$1"
        COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
        _emsa
        printf '%s\\n' "${COMPREPLY[@]}"
    """

    def complete(line):
        done = subprocess.run(
            ["bash", "-c", script, "bash", line], cwd=directory, capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return done.stdout.split()

    return complete


@pytest.mark.parametrize(
    "line, offered",
    [
        ("emsa tr", ["train"]),
        ("emsa train hint.thr", ["hint.threshold="]),
        ("emsa train --hint.thr", ["--hint.threshold"]),
        ("emsa train hint.mode=o", ["off"]),
        ("emsa train --hint.mode o", ["off"]),
        ("emsa train --strict=", ["True", "False"]),
        ("emsa train --preset c2f", ["c2f_thinker"]),
        ("emsa train --work", ["--workdir"]),
        ("emsa compare --work", []),
        ("emsa inspect cl", ["clips=", "clips.csv"]),
        ("emsa train --data cl", ["clips.csv"]),
        ("emsa describe lora.ra", ["lora.rank"]),
        ("emsa completion z", ["zsh"]),
        ("emsa help insp", ["inspect"]),
    ],
)
def test_bash(complete, line, offered):
    assert complete(line) == offered


def test_bash_offers_every_command_and_every_field(complete):
    assert set(complete("emsa ")) == {*COMMANDS, *OTHERS, "--help", "--version"}
    for name in ("train", "plan"):
        assert {f"{field}=" for field in fields(COMMANDS[name])} - set(complete(f"emsa {name} ")) == set()


def test_zsh_has_every_command_and_every_field():
    script = completion("zsh")
    assert script.startswith("#compdef emsa\n")
    words = set(script.replace("(", " ").replace(")", " ").split())
    for name, one in COMMANDS.items():
        assert f"'{name}:{one.summary.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'" in script
        assert set(fields(one)) <= words


def test_another_shell():
    with pytest.raises(InputError, match="there is no script for fish; there is one for bash and for zsh"):
        completion("fish")
