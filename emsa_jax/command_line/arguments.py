"""The words of one command, translated into the arguments of `emsa_jax.main`. Imports no jax."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from emsa_jax.command_line.command_options import commands_with, defaults, fields, keeps_workdir, presets
from emsa_jax.command_line.commands import Command, did_you_mean
from emsa_jax.config.fields import Leaf, groups, leaves, value_text
from emsa_jax.errors import InputError
from emsa_jax.settings.help import explained
from emsa_jax.settings.old_fields import check_old_fields
from emsa_jax.shipped import shipped

_FIELD = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*)=(.*)", re.DOTALL)
_PRESET = "preset of the config"  # there is a job with a field `preset`
_OURS = ("words", "workdir", _PRESET, "print_config", "help")  # what is parsed beside the fields


@dataclass(frozen=True)
class Parsed:
    """What was asked. help: None, or the group to show, "" for all. fields: (dotted name, value), the last one counts.
    words: those without a name."""

    help: str | None
    preset: str
    workdir: str | None
    print_config: bool
    fields: tuple[tuple[str, str], ...]
    words: tuple[str, ...]


def main_arguments(name: str, command: Command, words: Sequence[str]) -> list[str]:
    """The arguments after `python -m emsa_jax.main`. Raises InputError for what the command does not take."""
    return to_main(name, command, parse(name, command, words))


def parse(name: str, command: Command, words: Sequence[str]) -> Parsed:
    """The words after a command's name. Raises InputError naming a field or option that it does not have."""
    known = fields(command)
    found = vars(parser(name, command, defaults(command)).parse_intermixed_args(_plain(words)))
    values, rest = [(path, value) for path, value in found.items() if value is not None and path not in _OURS], []
    for word in found["words"]:
        field = _FIELD.fullmatch(word)
        path = field and field[1].removeprefix("config.")
        if path and (path in known or not command.pairs):
            check_field(path, name, known)
            values.append((path, field[2]))
        else:
            rest.append(word)
    if found["workdir"] is not None and not keeps_workdir(command):
        raise InputError(f"emsa {name} keeps no directory, and so takes no --workdir")
    preset = found.get(_PRESET) or ""
    if command.takes_preset and rest and not preset:
        preset, *rest = rest
    ours = {option: found[option] for option in ("help", "workdir", "print_config")}
    return Parsed(**ours, preset=preset, fields=tuple(values), words=tuple(rest))


def check_field(path: str, name: str, known: Mapping[str, Leaf]) -> None:
    """Raises InputError, with the nearest names, for a field that a command does not have. A part of a mapping, such as
    reward.weights.score, is one."""
    mappings = [field for field, leaf in known.items() if isinstance(leaf.value, Mapping)]
    if path in known or any(path.startswith(f"{field}.") for field in mappings):
        return
    if inside := [field for field in known if field.startswith(f"{path}.")]:
        raise InputError(f"{path} is a group of fields of emsa {name}; set one of them, as {inside[0]}=VALUE")
    raise _unknown(path, name, (*known, "workdir", "preset"))


def _unknown(path: str, name: str, known: Sequence[str]) -> InputError:
    """The error for a field that neither the command nor, by another name, an older version of it has."""
    try:
        check_old_fields([path])
    except InputError as error:
        return error
    if others := commands_with(path):
        return InputError(
            f"emsa {name} has no field {path}; emsa {', '.join(others)} {'have' if others[1:] else 'has'} it"
        )
    advice = did_you_mean(path, known, f"emsa {name} --help lists them")
    return InputError(f"emsa {name} has no field {path}; {advice}")


def to_main(name: str, command: Command, asked: Parsed) -> list[str]:
    """The arguments after `python -m emsa_jax.main`."""
    known, given = fields(command), list(asked.fields)
    if asked.words:
        given.append((command.takes, _words(name, command, known, asked.words)))
    config = shipped(f"configs/{command.config}.py")
    return [
        f"--config={config}{f':{asked.preset}' if asked.preset else ''}",
        *([f"--workdir={asked.workdir}"] if asked.workdir is not None else []),
        *(["--print_config"] if asked.print_config else []),
        *(f"--config.{path}={_value(known.get(path), value)}" for path, value in given),
    ]


def _words(name: str, command: Command, known: Mapping[str, Leaf], words: Sequence[str]) -> str:
    """The value of the field that words without a name go to."""
    if not command.takes:
        raise InputError(f"emsa {name} takes fields alone; what is {words[0]!r}? Write FIELD=VALUE")
    if get_origin(known[command.takes].annotation) is tuple:
        return value_text(tuple(words))
    if len(words) > 1:
        raise InputError(f"emsa {name} takes one word without a name, {command.takes}; what is {words[1]!r}?")
    return words[0]


def _value(field: Leaf | None, value: str) -> str:
    """A value as the flags parser takes it: several ones, a,b, become a tuple."""
    if field is None or get_origin(field.annotation) is not tuple or value.lstrip()[:1] in ("(", "["):
        return value
    parts = [part.strip() for part in value.split(",") if part.strip()]
    texts = get_args(field.annotation)[0] is str
    return value_text(tuple(parts)) if texts else f"({','.join(parts)}{',' if len(parts) == 1 else ''})"


def parser(name: str, command: Command, options: Any) -> argparse.ArgumentParser:
    """The parser of a command. options: whose values are shown as the defaults; fields in groups are taken, and left to
    the list of groups at the end of the help."""
    made = _Parser(
        prog=f"emsa {name}",
        usage=f"emsa {name} {_usage(command)}[--FIELD VALUE ...] [FIELD=VALUE ...]",
        description=f"{command.summary[0].upper()}{command.summary[1:]}.\n\n  {command.example}",
        epilog=_groups_text(name, options),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
        allow_abbrev=False,
    )
    word = "PRESET" if command.takes_preset else command.takes.upper() or "FIELD=VALUE"
    made.add_argument("words", nargs="*", metavar=word, help=_words_help(command))
    ours = made.add_argument_group("options")
    ours.add_argument("--help", "-h", nargs="?", const="", metavar="GROUP", help="this text, or a group's fields")
    kept = "directory that holds everything of this run (runs/default); the same command goes on where it stopped"
    ours.add_argument("--workdir", metavar="DIR", help=kept if keeps_workdir(command) else argparse.SUPPRESS)
    if there := presets(command):
        said = f"other defaults: {', '.join(there)}"
        ours.add_argument("--preset", dest=_PRESET, metavar="NAME", help=said)
    print_text = "print the value of every field and where it comes from, and do nothing else"
    ours.add_argument("--print_config", action="store_true", help=print_text)
    top = made.add_argument_group("fields")
    for leaf in (leaf for leaf in leaves(options) if leaf.path in fields(command)):
        extra = {"nargs": "?", "const": "True"} if leaf.annotation is bool else {}
        text = f"{explained(leaf)} [{value_text(leaf.value)}]".replace("%", "%%")
        shown = argparse.SUPPRESS if leaf.group else text
        top.add_argument(f"--{leaf.path}", dest=leaf.path, metavar="VALUE", help=shown, **extra)
        for key in leaf.value if isinstance(leaf.value, Mapping) else ():
            top.add_argument(f"--{leaf.path}.{key}", dest=f"{leaf.path}.{key}", help=argparse.SUPPRESS)
    return made


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are ours."""

    def error(self, message: str) -> None:
        name = self.prog.removeprefix("emsa ")
        if unknown := re.match(r"unrecognized arguments: (-\S+)", message):
            path = unknown[1].lstrip("-").partition("=")[0]
            known = [option.removeprefix("--") for action in self._actions for option in action.option_strings]
            raise _unknown(path, name, known)
        if missing := re.match(r"argument (--\S+?)(/-h)?: expected one argument", message):
            raise InputError(f"emsa {name}: {missing[1]} has no value; write {missing[1]}=VALUE")
        raise InputError(f"emsa {name}: {message}")


def _plain(words: Iterable[str]) -> list[str]:
    """Names in one spelling: --score-range and --config.score_range are --score_range."""

    def plain(word: str) -> str:
        name, equals, value = word[2:].partition("=")
        return f"--{name.replace('-', '_').removeprefix('config.')}{equals}{value}"

    return [plain(word) if re.match(r"--[A-Za-z]", word) else word for word in words]


def _usage(command: Command) -> str:
    several = command.takes and get_origin(fields(command)[command.takes].annotation) is tuple
    word = f"[{command.takes.upper()}{' ...' if several else ''}] " if command.takes else ""
    word = "[PRESET] " if command.takes_preset else word
    return word + ("[--workdir DIR] " if keeps_workdir(command) else "")


def _words_help(command: Command) -> str:
    if command.takes_preset:
        return "other defaults, as --preset"
    return f"the field {command.takes}" if command.takes else argparse.SUPPRESS


def _groups_text(name: str, options: Any) -> str:
    """A line for each group of fields that has fields of its own."""
    rows = []
    for path, group in groups(options):
        count = sum(1 for leaf in leaves(group, path) if leaf.group == path)
        first = (type(group).__doc__ or "").partition("\n")[0]
        rows += [(path, count, first)] if count and not path.startswith("base.") else []
    if not rows:
        return ""
    width = max(len(path) for path, *_ in rows)
    lines = "\n".join(f"  {path:{width}}  {count:2d}  {text}" for path, count, text in rows)
    return f"groups, and how many fields each has (emsa {name} --help GROUP lists them):\n{lines}"
