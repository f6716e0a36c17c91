"""`emsa describe`: what a field or a group of fields means, which commands have it, and where presets differ. Imports
no jax."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Iterable, Mapping

from emsa_jax.command_line.command_options import fields, is_run, options_class
from emsa_jax.command_line.commands import COMMANDS, did_you_mean
from emsa_jax.config.fields import Leaf, groups, leaves, type_name, value_text
from emsa_jax.errors import InputError
from emsa_jax.settings.config import Config
from emsa_jax.settings.help import explained, values_of
from emsa_jax.settings.presets import PRESETS

WIDTH = 100


def describe(name: str) -> str:
    """The description of a field, or of a group and its fields. Raises InputError with the nearest names."""
    owners = {command: leaf for command, one in COMMANDS.items() if (leaf := fields(one).get(name))}
    if owners:
        return "\n\n".join(_field(leaf, commands) for leaf, commands in _alike(owners))
    found = {command: dict(groups(options_class(one)())) for command, one in COMMANDS.items()}
    owners = {command: inside[name] for command, inside in found.items() if name in inside}
    if owners:
        return "\n\n".join(_group(name, options, commands) for options, commands in _alike(owners))
    known = [name for one in COMMANDS.values() for name in (*fields(one), *dict(groups(options_class(one)())))]
    advice = did_you_mean(name, dict.fromkeys(known), "emsa train --help lists the groups of a run")
    raise InputError(f"there is no field or group {name}; {advice}")


def group_text(name: str, options: object, group: str) -> str:
    """The fields of one group of a command, one line each, with the defaults of `options`.

    Raises InputError with the nearest names for a group, or field, that it does not have."""
    found = [leaf for leaf in leaves(options) if leaf.path == group or leaf.path.startswith(f"{group}.")]
    if not found:
        known = [path for path, _ in groups(options)]
        raise InputError(f"emsa {name} has no group {group}; {did_you_mean(group, known, _listed(known))}")
    return "\n".join(_line(leaf) for leaf in found)


def _listed(known: list[str]) -> str:
    return f"there are {', '.join(known)}" if known else "its fields stand in no groups"


def _alike(owners: dict[str, object]) -> Iterable[tuple]:
    """(field or group, its commands), commands that describe it in the same way together. Most have what a run has."""
    described: list[tuple[object, list[str]]] = []
    for command, found in owners.items():
        same = next((names for other, names in described if other == found), None)
        if same is None:
            described.append((found, [command]))
        else:
            same.append(command)
    return sorted(described, key=lambda pair: -len(pair[1]))


def _field(leaf: Leaf, commands: list[str]) -> str:
    said = leaf.description
    rows = [
        ("default", value_text(leaf.value)),
        ("type", type_name(leaf.annotation)),
        ("range", " ".join(filter(None, (said.range, said.unit and f"(in {said.unit})")))),
        ("source", said.source),
        ("commands", ", ".join(commands)),
        ("presets", _presets(leaf) if any(is_run(COMMANDS[command]) for command in commands) else ""),
        ("note", "experimental: beyond what the papers ask for" if said.experimental else ""),
        ("note", "" if said.affects_results else "results do not depend on it"),
    ]
    head = textwrap.fill(f"{leaf.path}: {said.text}", WIDTH, subsequent_indent="  ")
    wrapped = [textwrap.fill(f"  {name:9} {text}", WIDTH, subsequent_indent=" " * 12) for name, text in rows if text]
    return "\n".join([head, *wrapped])


def _presets(leaf: Leaf) -> str:
    """What presets of a run set otherwise; the embedded world is the one without a name."""
    default, found = _preset_values()
    return ", ".join(
        f"{name}: {value_text(values[leaf.path])}"
        for name, values in found.items()
        if values[leaf.path] != default[leaf.path]
    )


@functools.cache
def _preset_values() -> tuple[Mapping, Mapping[str, Mapping]]:
    """The defaults of a run, and preset -> its values."""
    return values_of(Config()), {name or "no preset": values_of(make()) for name, make in PRESETS.items()}


def _group(name: str, options: object, commands: list[str]) -> str:
    first = (type(options).__doc__ or "").partition("\n")[0]
    lines = [f"{name}: {first}", f"  commands  {', '.join(commands)}", ""]
    return "\n".join(lines + [_line(leaf) for leaf in leaves(options, name)])


def _line(leaf: Leaf) -> str:
    text = f"{leaf.path}={value_text(leaf.value)}  {type_name(leaf.annotation)}  {explained(leaf)}"
    return textwrap.fill(text, WIDTH + 20, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
