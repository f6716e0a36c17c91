"""The options behind a command: its fields, the presets of its config, and whether it keeps a directory. Imports no
jax."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from emsa_jax.command_line.commands import COMMANDS, Command
from emsa_jax.config.fields import Leaf, leaves
from emsa_jax.experiments.arms import TABLES
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import JOBS, RESUMED
from emsa_jax.settings.presets import PRESETS


def options_class(command: Command) -> type:
    """The class of the options that its config makes."""
    return JOBS.get(command.config, Config)


def is_run(command: Command) -> bool:
    """Whether it takes the fields of a run."""
    return options_class(command) is Config


def keeps_workdir(command: Command) -> bool:
    """Whether it takes --workdir."""
    return is_run(command) or command.config in RESUMED


def presets(command: Command) -> tuple[str, ...]:
    """Names that --preset takes. The one of configs/features.py only names several networks, and `preset` is a field
    there."""
    others = {"ablation": (*TABLES, "bench"), "bridges": ("vecb", "aecb")}
    if is_run(command) or command.config == "plan":
        return tuple(filter(None, PRESETS))
    return others.get(command.config, ())


def defaults(command: Command, preset: str = "") -> Any:
    """The options before the command line changes them; those of a run with the values of a preset, if it is one."""
    if is_run(command):
        usual = "xemogpt" if command.config == "xemogpt" else ""  # as the config has it
        return PRESETS.get(preset or usual, PRESETS[usual])()
    return options_class(command)()


@functools.cache
def fields(command: Command) -> Mapping[str, Leaf]:
    """Dotted name -> field; which job it is stands fast."""
    return {leaf.path: leaf for leaf in leaves(options_class(command)()) if leaf.path != "job"}


def commands_with(name: str) -> list[str]:
    """The commands that have a field, by its dotted name."""
    return [other for other, command in COMMANDS.items() if name in fields(command)]


def choices(annotation: Any) -> tuple[str, ...]:
    """The texts that a field of a type may be set to, as far as they can be listed."""
    if annotation is bool:
        return ("True", "False")
    if get_origin(annotation) is Literal:
        return tuple(map(str, get_args(annotation)))
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(one for part in get_args(annotation) for one in choices(part))
    return ("none",) if annotation is type(None) else ()
