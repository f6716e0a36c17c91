"""What PEFT calls the modules of the policy's table of parameters, in the spellings that are around.

A module's stem is its name without what wrappers and classes put in front of it: "layers.3.self_attn.q_proj" of the
decoder, "audio_tower.proj", "visual.merger.mlp.0".
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from emsa_jax.policy.parameter_table import ParamSpec

_CLASSES = re.compile(r"(?:thinker\.)?(?:model\.)?(?:language_model\.)?")


def stem(name: str) -> str:
    """The stem of a module or parameter, as any class of `transformers` calls it."""
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


def is_called(spec: ParamSpec, layer: int, ends: tuple[str, ...]) -> bool:
    """Whether the name of a parameter's module ends in one of `ends` under any class, as PEFT looks for modules."""
    names = (written(spec, layer), f"thinker.{spec.disk.format(n=layer)}")
    return any(name.rpartition(".")[0].endswith(ends) for name in names)


def module_pattern(spec: ParamSpec) -> str:
    """A pattern of the module's name in all layers and under any class, for `target_modules`."""
    name = re.escape(stem(spec.disk).removesuffix(".weight")).replace(r"\{n\}", r"\d+")
    return r".*(?:^|\.)" + (r"(?:language_model|model)\." if spec.path[0] == "text" else "") + name
