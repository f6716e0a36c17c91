"""`emsa completion`: scripts that complete commands, fields and their choices in bash and zsh, made of the options.
Imports no jax."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jinja2

from emsa_jax.command_line.command_options import choices, fields, keeps_workdir, presets
from emsa_jax.command_line.commands import COMMANDS, OTHERS, Command, did_you_mean
from emsa_jax.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"
SHELLS = ("bash", "zsh")


@dataclass(frozen=True)
class Completed:
    """What follows some commands that have the same fields. fields and presets: names, parted by spaces."""

    commands: tuple[str, ...]
    fields: str
    presets: str
    workdir: bool


def completion(shell: str) -> str:
    """The script for a shell. Raises InputError for one that is not known."""
    if shell not in SHELLS:
        advice = did_you_mean(shell, SHELLS, f"there is one for {' and for '.join(SHELLS)}")
        raise InputError(f"emsa completion: there is no script for {shell or 'no shell'}; {advice}")
    template = jinja2.Template(
        (TEMPLATES / f"completion.{shell}").read_text(), keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    summaries = {name: one.summary for name, one in COMMANDS.items()}
    summaries |= {name: text.partition(":")[0] for name, text in OTHERS.items()}
    return template.render(
        summaries=summaries,
        completed=list(_completed(COMMANDS)),
        choices=_choices(COMMANDS.values()),
        shells=" ".join(SHELLS),
        described=" ".join(dict.fromkeys(path for one in COMMANDS.values() for path in fields(one))),
    )


def _completed(commands: dict[str, Command]) -> Iterable[Completed]:
    alike: dict[tuple, list[str]] = {}
    for name, one in commands.items():
        names = " ".join(fields(one))
        alike.setdefault((names, " ".join(presets(one)), keeps_workdir(one)), []).append(name)
    for (names, preset_names, workdir), found in alike.items():
        yield Completed(tuple(found), names, preset_names, workdir)


def _choices(commands: Iterable[Command]) -> dict[str, str]:
    """Field -> its choices in all commands that have it, of the fields that have some."""
    found: dict[str, dict[str, None]] = {}
    for one in commands:
        for path, leaf in fields(one).items():
            found.setdefault(path, {}).update(dict.fromkeys(choices(leaf.annotation)))
    return {path: " ".join(there) for path, there in found.items() if there}
