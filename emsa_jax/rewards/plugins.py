"""Reward parts of the user's own, named as "module:function"."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from emsa_jax.answers.answer_format import Answer
from emsa_jax.data.records import Clip, Entry
from emsa_jax.errors import InputError
from emsa_jax.rewards.claim_parts import CLAIM_PARTS
from emsa_jax.rewards.parts import CONSISTENCY, PARTS
from emsa_jax.rewards.reward_options import LARGEST

Plugin = Callable[[str, Answer, Mapping], float | None]  # of the text, what was read, and `sample_of` the clip


def load_plugins(specs: Sequence[str]) -> dict[str, Plugin]:
    """Imports "module:function" each; the part takes the function's name. Raises InputError naming what fails."""
    plugins: dict[str, Plugin] = {}
    for spec in specs:
        where = f"reward.plugins: {spec!r}"
        module, _, name = spec.partition(":")
        if not module or not name.isidentifier():
            raise InputError(f"{where} must look like 'module:function'")
        try:
            function = getattr(importlib.import_module(module), name)
        except (Exception, SystemExit) as error:  # a user's module may fail in any way while it is imported
            lost = isinstance(error, ModuleNotFoundError) and error.name == module.split(".")[0]
            hint = "; its folder must be in PYTHONPATH" if lost else ""
            raise InputError(f"{where} cannot be imported: {type(error).__name__}: {error}{hint}") from error
        if not callable(function):
            raise InputError(f"{where} is not a function")
        if name in plugins or name in (*PARTS, *CLAIM_PARTS, CONSISTENCY):
            raise InputError(f"{where}: there is already a reward named {name!r}")
        plugins[name] = function
    return plugins


def sample_of(clip: Clip | Entry) -> dict:
    """What plug-ins may know of a Clip or Entry."""
    return {name: getattr(clip, name) for name in ("id", "score", "text", "concepts", "language")}


def call_plugin(name: str, plugin: Plugin, text: str, answer: Answer, sample: Mapping) -> float | None:
    """plugin(text, answer, sample): a number, or None where the part does not apply. It cannot change the sample, which
    other answers and parts read. Raises InputError naming the plug-in and the sample if it fails."""
    where = f"reward.plugins: {name!r} on sample {sample.get('id')!r}"
    try:
        value = plugin(text, answer, MappingProxyType(sample))
        if isinstance(value, (str, bytes)):
            raise TypeError(f"it returned the text {value!r}, not a number")
        value = None if value is None else float(value)
    except (Exception, SystemExit) as error:
        raise InputError(f"{where} failed: {type(error).__name__}: {error}") from error
    if value is not None and not abs(value) <= LARGEST:
        raise InputError(f"{where} returned {value}; it must be a number of at most {LARGEST:g}, or None")
    return value
