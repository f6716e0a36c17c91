"""The program `emsa`. What it needs is imported only once it is known what is asked, so that help is quick."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from emsa_jax.command_line.commands import OTHERS, Command, command, overview
from emsa_jax.errors import InputError


def run() -> None:
    """The console script: does what the command line says and ends the process, with 2 for what cannot be."""
    try:
        arguments = arguments_for(sys.argv[1:])
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if arguments is not None:
        from emsa_jax import main

        sys.argv = ["emsa", *arguments]
        main.program(sys.argv)


def arguments_for(words: Sequence[str]) -> list[str] | None:
    """The arguments of `emsa_jax.main` that a command line stands for; None where all is said already: help,
    descriptions and scripts are printed here.

    Raises InputError for a command, field or value that cannot be.
    """
    name, *rest = words or ["--help"]
    if name in ("--help", "-h") or name == "help" and not rest:
        print(overview(), end="")
    elif name == "--version":
        print(_version())
    elif name == "help":
        return _help(rest[0], command(rest[0]), rest[1] if len(rest) > 1 else "")
    elif name in OTHERS:
        print(_other(name, rest), end="")
    else:
        return _command(name, command(name), rest)
    return None


def _command(name: str, one: Command, words: Sequence[str]) -> list[str] | None:
    from emsa_jax.command_line.arguments import parse, to_main

    asked = parse(name, one, words)
    if asked.help is not None:
        return _help(name, one, asked.help, asked.preset)
    return to_main(name, one, asked)


def _help(name: str, one: Command, group: str, preset: str = "") -> None:
    from emsa_jax.command_line.arguments import parser
    from emsa_jax.command_line.command_options import defaults
    from emsa_jax.command_line.describe import group_text

    options = defaults(one, preset)
    print(group_text(name, options, group) if group else parser(name, one, options).format_help().rstrip())


def _other(name: str, words: Sequence[str]) -> str:
    """What `describe`, `cite` and `completion` print."""
    if "--help" in words or "-h" in words:
        return f"emsa {name}: {OTHERS[name]}\n"
    if name == "cite":
        return _cite(words)
    if len(words) != 1:
        wanted = {"describe": "name a field or a group, such as hint.threshold or hint", "completion": "bash or zsh"}
        raise InputError(f"emsa {name} takes one word: {wanted[name]}")
    if name == "completion":
        from emsa_jax.command_line.completion import completion

        return completion(words[0])
    from emsa_jax.command_line.describe import describe

    return describe(words[0].removeprefix("--").removeprefix("config.").replace("-", "_")) + "\n"


def _cite(words: Sequence[str]) -> str:
    """Bibtex of a run, or without one of this software."""
    from emsa_jax.report.citations import SOFTWARE, bibtex, citations
    from emsa_jax.runtime.versions import versions

    if len(words) > 1:
        raise InputError("emsa cite takes one word: the workdir of a run; without one it cites this software")
    return citations(words[0]) if words else bibtex({SOFTWARE: ["emsa_jax"]}, versions())


def _version() -> str:
    from importlib import metadata

    return f"emsa_jax {metadata.version('emsa_jax')}"


if __name__ == "__main__":
    run()
