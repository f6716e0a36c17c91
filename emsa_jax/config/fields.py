"""How a field of options is described: once, for error messages, for `--help` and for docs/options.md.

    @dataclass(frozen=True)
    class LoraOptions(Options):
        "The adapter."

        group: ClassVar[str] = "lora"
        rank: int = option(64, "rank of the update of a linear", low=1)

A leaf is a field that is no group of options itself. The ranges given here are checked whenever options are made.
"""

import dataclasses
import functools
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

from emsa_jax.errors import InputError

_KEY = "described"
MOST = 2**31 - 1  # of a whole number without an upper bound of its own: larger ones do not fit into int32 arrays


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
    """What is said of a leaf: its text, unit, range and source (a paper's section, or "ours").

    low and high are bounds that are allowed themselves, above and below are not. They hold for each item of a tuple
    and for each value of a mapping. experimental: no paper asks for it. affects_results: whether what a stage computes
    may depend on it. grows: values may be added to those that a run was begun with.
    """

    text: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    source: str = "ours"
    experimental: bool = False
    affects_results: bool = True
    grows: bool = False

    @property
    def range(self) -> str:
        """The range in words, "" without bounds."""
        names = {"low": "at least", "above": "above", "high": "at most", "below": "below"}
        parts = [
            f"{word} {getattr(self, name):,.10g}" for name, word in names.items() if getattr(self, name) is not None
        ]
        return " and ".join(parts).replace(",", "")

    def is_huge(self, value: Any) -> bool:
        """Whether a whole number, or one of several, that has no upper bound is larger than any that can be meant."""
        if isinstance(value, list | tuple):
            return any(map(self.is_huge, value))
        return isinstance(value, int) and value > MOST and self.high is None and self.below is None

    def allows(self, value: Any) -> bool:
        """Whether a number, or each of several numbers, lies in the range. What is no number is left to others."""
        if isinstance(value, Mapping):
            return all(map(self.allows, value.values()))
        if isinstance(value, list | tuple):
            return all(map(self.allows, value))
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        if self.is_huge(value):
            return False
        return not (  # with `not` on the outside, NaN would lie in every range
            (self.low is not None and not value >= self.low)
            or (self.high is not None and not value <= self.high)
            or (self.above is not None and not value > self.above)
            or (self.below is not None and not value < self.below)
        )


def option(default: Any, text: str, **described: Any) -> Any:
    """A dataclass field with its default and its Description (`text` and the other fields of Description)."""
    metadata = {_KEY: Description(text=text, **described)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def no_effect() -> Any:
    """A field of settings that `pick` takes out of options, for an option that cannot change what a stage computes."""
    return dataclasses.field(metadata={_KEY: Description(text="", affects_results=False)})


class Options:
    """Base of all options: frozen dataclasses whose ranges are checked as they are made.

    group: the dotted name under which messages speak of them, "" for those at the top.
    """

    group: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_ranges(self, self.group)


def check_ranges(options: Any, path: str) -> None:
    """Raises InputError naming the first leaf of a dataclass whose value is out of its range, or none of its choices.
    path: the dotted name of the dataclass."""
    choices = _choices(type(options))
    for field in dataclasses.fields(options):
        name, value = f"{path}.{field.name}" if path else field.name, getattr(options, field.name)
        if field.name in choices and value not in choices[field.name]:
            raise InputError(f"{name}: {value!r} is none of {', '.join(map(str, choices[field.name]))}")
        check_range(field, value, name)


@functools.cache
def _choices(cls: type) -> dict[str, tuple]:
    """Field -> what it may be, of the fields that are a choice."""
    return {name: get_args(hint) for name, hint in get_type_hints(cls).items() if get_origin(hint) is Literal}


def check_range(field: dataclasses.Field, value: Any, name: str) -> None:
    """Raises InputError, naming the field and saying what it is, for a value out of its range."""
    description = field.metadata.get(_KEY)
    if description and isinstance(value, Mapping):
        beyond = next((key for key, item in value.items() if not description.allows(item)), None)
        name, value = (name, value) if beyond is None else (f"{name}.{beyond}", value[beyond])
    if description and not description.allows(value):
        wanted = f"at most {MOST}" if description.is_huge(value) else description.range
        shown = "a huge number" if isinstance(value, int) and abs(value) > 2**64 else repr(value)
        raise InputError(f"{name} must be {wanted}, not {shown}: {description.text}")


def refuse_repeated(name: str, values: Iterable[Any]) -> None:
    """Raises InputError for a value that a field names twice."""
    values = list(values)
    for value in values:
        if values.count(value) > 1:
            raise InputError(f"{name}: {value!r} is named twice; leave one out")


def has_effect(field: dataclasses.Field) -> bool:
    """Whether what a stage computes may depend on a field."""
    return _KEY not in field.metadata or field.metadata[_KEY].affects_results


def grows(options: Any, name: str) -> bool:
    """Whether values may be added to those of a field that a run was begun with."""
    found = next(field for field in dataclasses.fields(options) if field.name == name)
    return _KEY in found.metadata and found.metadata[_KEY].grows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaf:
    """One leaf of options. path: dotted, without "config". annotation: its type. value: as the options have it."""

    path: str
    annotation: Any
    value: Any
    description: Description | None

    @property
    def group(self) -> str:
        """The dotted name of its group, "" at the top."""
        return self.path.rpartition(".")[0]


def leaves(options: Any, path: str = "") -> Iterator[Leaf]:
    """Every leaf of a dataclass instance, groups followed, in the order in which they are written."""
    hints = get_type_hints(type(options))
    for field in dataclasses.fields(options):
        name, value = f"{path}.{field.name}" if path else field.name, getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, name)
        else:
            yield Leaf(path=name, annotation=hints[field.name], value=value, description=field.metadata.get(_KEY))


def groups(options: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, options) of every group within a dataclass instance, itself left out."""
    for field in dataclasses.fields(options):
        name, value = f"{path}.{field.name}" if path else field.name, getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            yield name, value
            yield from groups(value, name)


def without_effect(options: Any) -> tuple[str, ...]:
    """Dotted names of the leaves that cannot change what a stage computes; none of what is no dataclass."""
    found = leaves(options) if dataclasses.is_dataclass(options) else ()
    return tuple(leaf.path for leaf in found if leaf.description and not leaf.description.affects_results)


def growing(options: Any) -> tuple[str, ...]:
    """Dotted names of the leaves to whose values more may be added in a run that has begun."""
    found = leaves(options) if dataclasses.is_dataclass(options) else ()
    return tuple(leaf.path for leaf in found if leaf.description and leaf.description.grows)


def type_name(annotation: Any) -> str:
    """An annotation in few signs: `int`, `float|none`, `'all'|int`, `tuple[str, ...]`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return "|".join(map(type_name, arguments))
    if origin is Literal:
        return "|".join(map(repr, arguments))
    if origin is not None:
        return f"{origin.__name__}[{', '.join('...' if item is Ellipsis else type_name(item) for item in arguments)}]"
    return "none" if annotation is type(None) else annotation.__name__


def value_text(value: Any) -> str:
    """A value as it is written after `--config.FIELD=`; texts stand for themselves."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name!r}:{value_text(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "(" + ",".join(map(repr, value)) + ("," if len(value) == 1 else "") + ")"
    return "none" if value is None else str(value)
