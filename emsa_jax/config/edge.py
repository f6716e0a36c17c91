"""Options are frozen dataclasses inside and an ml_collections.ConfigDict at the edge; this is the way
between them.

Field types: bool, int, float, str, Literal, unions and None of these, tuple[X, ...], tuple[X, Y], dict[str,
X], and dataclasses of such fields.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import os
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ml_collections import ConfigDict, FieldReference, config_dict

from emsa_jax.config.fields import check_range, grows, has_effect
from emsa_jax.errors import InputError

T = TypeVar("T")


def to_config_dict(options: Any) -> ConfigDict:
    """A ConfigDict with the fields of a dataclass instance, whose values can be overridden as
    `--config.a.b=1`.

    A field that takes several types (`float | None`, `Literal["auto"] | float`) takes any literal there,
    `none` included.
    """
    hints = get_type_hints(type(options))
    names = [field.name for field in dataclasses.fields(options)]
    return ConfigDict({name: _to_edge(getattr(options, name), hints[name]) for name in names})


def from_config_dict(cls: type[T], config: Mapping[str, Any] | ConfigDict, path: str = "config") -> T:
    """The frozen dataclass of a config, every field checked against its annotation.

    Absent fields take their defaults. Raises InputError naming the dotted field: an unknown one (with the
    nearest known), a missing one, a value of the wrong type or outside its choices, NaN or infinity.
    """
    if not isinstance(config, Mapping | ConfigDict):
        raise InputError(f"{path} must be a group of fields, not {_show(config)}")
    hints = get_type_hints(cls)
    known = {field.name: field for field in dataclasses.fields(cls)}
    for name in config.keys():
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1, 0.5)
            advice = f"did you mean {path}.{near[0]}?" if near else f"known fields: {', '.join(known)}"
            raise InputError(f"{path}.{name} is not a known field; {advice}")
    values = {}
    for name, field in known.items():
        if name in config:
            try:
                given = config[name]
            except config_dict.RequiredValueError as error:
                raise InputError(f"{path}.{name} has no value yet; set --{path}.{name}=VALUE") from error
            values[name] = _from_edge(given, hints[name], f"{path}.{name}")
            check_range(field, values[name], f"{path}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{path}.{name} is missing")
    try:
        return cls(**values)
    except ValueError as error:  # what the dataclass itself has to say about its fields
        raise InputError(f"{path}: {error}") from error


def pick(cls: type[T], options: Any) -> T:
    """The frozen dataclass `cls`, built from the attributes of the same names of `options`, another dataclass.

    This is how a function gets the options that it reads out of a whole config. Raises AttributeError naming a field
    that `options` does not have: a mistake in the code, not in what a user gave.
    """
    return cls(**{field.name: getattr(options, field.name) for field in dataclasses.fields(cls) if field.init})


def to_dict(value: Any) -> Any:
    """Dataclasses, mappings, tuples, paths and NumPy scalars as what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_dict(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping | ConfigDict):
        return {str(name): to_dict(value[name]) for name in value.keys()}
    if isinstance(value, list | tuple):
        return [to_dict(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if hasattr(value, "item") else value


def digest(value: Any) -> str:
    """sha256 of a dataclass, mapping or other JSON-like value; the order of fields does not matter."""
    text = json.dumps(to_dict(value), sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def results_digest(value: Any) -> str:
    """`digest` of options without the fields that cannot change what a stage computes, such as how many workers or
    devices there are, and without those that add to others, where nothing is added: what a finished stage is known
    by."""
    return digest(_with_effect(value))


def _with_effect(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if has_effect(field)]
        names = [name for name in names if getattr(value, name) != () or not grows(value, name)]
        return {name: _with_effect(getattr(value, name)) for name in names}
    return to_dict(value)


def _to_edge(value: Any, annotation: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_config_dict(value)
    if isinstance(value, Mapping):
        return ConfigDict(dict(value))
    members = _members(annotation)
    scalars = {type(member) if isinstance(member, str | int) else member for member in members} - {type(None)}
    if len(members) > 1 and scalars == {str}:
        return value if value is not None else config_dict.placeholder(str)
    if any(dataclasses.is_dataclass(member) for member in members):
        raise TypeError(f"a group of options cannot be optional: {annotation}")
    return FieldReference(value, field_type=object) if len(scalars) > 1 or type(None) in members else value


def _from_edge(value: Any, annotation: Any, path: str) -> Any:
    """`value` as `annotation` wants it, or InputError naming `path`."""
    if dataclasses.is_dataclass(annotation):
        return from_config_dict(annotation, value, path)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple and isinstance(value, list | tuple):
        return _tuple(value, arguments, path)
    if origin is dict and isinstance(value, Mapping | ConfigDict):
        return {str(name): _from_edge(value[name], arguments[1], f"{path}.{name}") for name in value.keys()}
    members = _members(annotation)
    if type(None) in members and (value is None or (value in ("none", "None") and str not in members)):
        return None
    for member in members:
        if isinstance(member, str | int):  # a choice of a Literal
            if type(value) is type(member) and value == member:
                return value
        elif isinstance(member, type):
            if type(value) is member and not (member is float and not math.isfinite(value)):
                return value
            if member is float and type(value) is int and int not in members and abs(value) < 2**1023:
                return float(value)
        elif get_origin(member) in (tuple, dict) and not isinstance(value, str | int | float | None):
            return _from_edge(value, member, path)
    raise InputError(f"{path} must be {_wanted(members)}, not {_show(value)}")


def _tuple(value: list | tuple, items: tuple, path: str) -> tuple:
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    if len(items) != len(value):
        raise InputError(f"{path} must have {len(items)} values, not {len(value)}")
    return tuple(_from_edge(value[i], items[i], f"{path}[{i}]") for i in range(len(items)))


def _members(annotation: Any) -> tuple:
    """The types and choices of an annotation: float | Literal["auto"] -> (float, "auto")."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(member for part in get_args(annotation) for member in _members(part))
    return get_args(annotation) if get_origin(annotation) is Literal else (annotation,)


def _wanted(members: tuple) -> str:
    names = {float: "a finite number", int: "a whole number", str: "a text", bool: "true or false", type(None): "none"}
    parts = [
        names.get(member, "") or (repr(member) if isinstance(member, str | int) else f"a {member}")
        for member in members
    ]
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " or " + parts[-1]


def _show(value: Any) -> str:
    text = repr(value) if type(value) is not int or abs(value) < 2**64 else "a huge number"
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
