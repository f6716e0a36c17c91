"""What PEFT calls the modules of the policy's table of parameters, in the spellings that are around.

A module's stem is its name without what wrappers and classes put in front of it: "layers.3.self_attn.q_proj" of the
decoder, "audio_tower.proj", "visual.merger.mlp.0".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from emsa_jax.policy.parameter_table import ParamSpec

_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.")
_CLASSES = re.compile(r"(?:(?:base_model|module|thinker|model|language_model)\.)*")
SPEAKING = ("talker", "token2wav")  # halves of the full class that no policy here has
_THINKER_ALONE = rf"(?!(?:.*\.)?(?:{'|'.join(SPEAKING)})\.)"


def unwrapped(name: str) -> str:
    """A module's name without what PEFT, compiling and sharding put around modules, as its class calls it."""
    return _WRAPPERS.sub("", name).removeprefix("base_model.model.")


def stem(name: str) -> str:
    """The stem of a module or parameter, as any class of `transformers` calls it."""
    name = unwrapped(name)
    return name[_CLASSES.match(name).end() :]


def stems(specs: Iterable[ParamSpec]) -> dict[str, tuple[ParamSpec, int]]:
    """Stem of each parameter of the table -> (its entry, its layer, 0 where there are none)."""
    return {stem(spec.disk.format(n=n)): (spec, n) for spec in specs for n in range(spec.layers or 1)}


def written(spec: ParamSpec, layer: int, text_alone: bool = False) -> str:
    """The parameter's name under `transformers` 5, in a Thinker or in a text model alone."""
    name = stem(spec.disk.format(n=layer))
    tower = {"text": "model." if text_alone else "model.language_model.", "audio": "model.", "vision": "model."}[
        spec.path[0]
    ]
    return name if spec.path == ("text", "lm_head") else tower + name


def spellings(spec: ParamSpec, layer: int) -> tuple[str, ...]:
    """The parameter's names under `transformers` 5 and before, in a Thinker and in a full Qwen2.5-Omni."""
    names = (written(spec, layer), spec.disk.format(n=layer))
    return (*names, *(f"thinker.{name}" for name in names))


def is_called(spec: ParamSpec, layer: int, ends: tuple[str, ...]) -> bool:
    """Whether the name of a parameter's module ends in one of `ends` under any class, as PEFT looks for modules."""
    return any(name.rpartition(".")[0].endswith(ends) for name in spellings(spec, layer))


def modules_pattern(specs: Iterable[ParamSpec]) -> str:
    """A pattern of the names of linears in all layers and under any class, for `target_modules`; the half that speaks
    is left out, whose layers have the same names."""
    return f"{_THINKER_ALONE}(?:{'|'.join(map(_module_pattern, specs))})"


def _module_pattern(spec: ParamSpec) -> str:
    name = re.escape(stem(spec.disk).removesuffix(".weight")).replace(r"\{n\}", r"\d+")
    return r".*(?:^|\.)" + (r"(?:language_model|model)\." if spec.path[0] == "text" else "") + name
