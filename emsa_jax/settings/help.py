"""What `--help` and `--print_config` print: a line for each field of a job. Imports no jax."""

from collections.abc import Iterable, Mapping
from typing import Any

from emsa_jax.config.fields import Leaf, groups, leaves, type_name, value_text
from emsa_jax.errors import InputError

EXPERIMENTAL = "Experimental, beyond what the papers ask for:"


def help_lines(options: Any, group: str = "") -> list[str]:
    """One line for each field, `--config.FIELD=DEFAULT  TYPE  text`; experimental fields stand in a block of their own.

    Args:
      options: of a job, a dataclass whose values are the defaults to show.
      group: the dotted name of one group or field, which alone is shown; "" for all.

    Raises:
      InputError: there is no such group or field; the message names the groups there are.
    """
    found = list(leaves(options))
    if group:
        found = [leaf for leaf in found if leaf.path == group or leaf.path.startswith(f"{group}.")]
        if not found:
            names = [name for name, _ in groups(options)]
            known = f"there are {', '.join(names)}" if names else "this job has none"
            raise InputError(f"--help={group}: no such group of fields; {known}")
    usual = [leaf for leaf in found if not leaf.description.experimental]
    beyond = [leaf for leaf in found if leaf.description.experimental]
    return [*map(_help_line, usual), *(["", EXPERIMENTAL] if beyond else []), *map(_help_line, beyond)]


def explained(leaf: Leaf) -> str:
    """The description of a field in one line: text, unit, range and source."""
    found = leaf.description
    notes = [found.unit and f"in {found.unit}", found.range, found.source != "ours" and f"source: {found.source}"]
    notes = "; ".join(filter(None, notes))
    return found.text + (f" ({notes})" if notes else "")


def config_lines(options: Any, preset: Any, given: Iterable[str], names: tuple[str, str]) -> list[str]:
    """One line for each field, `--config.FIELD=VALUE  ORIGIN`.

    Args:
      options: as they are used, after the command line.
      preset: as they were before the command line.
      given: dotted fields that the command line sets; a group's name stands for its fields.
      names: where values come from that are not the default: (name of the preset or "", name of the file).
    """
    default, before = values_of(type(options)()), values_of(preset)
    given = tuple(given)
    lines = []
    for leaf in leaves(options):
        if any(
            leaf.path == name or leaf.path.startswith(f"{name}.") or name.startswith(f"{leaf.path}.") for name in given
        ):
            origin = "command line"
        elif before[leaf.path] == default[leaf.path]:
            origin = "default"
        else:
            origin = f"preset {names[0]}" if names[0] and leaf.path != "stages" else names[1]
        lines.append(f"--config.{leaf.path}={value_text(leaf.value)}  {origin}")
    return lines


def values_of(options: Any) -> Mapping[str, Any]:
    """Dotted name -> value of every field."""
    return {leaf.path: leaf.value for leaf in leaves(options)}


def _help_line(leaf: Leaf) -> str:
    return f"--config.{leaf.path}={value_text(leaf.value)}  {type_name(leaf.annotation)}  {explained(leaf)}"
