"""PEFT adapter directories in and out.

Read in all spellings that are around: under `transformers` 5 (`model.language_model.layers`), of older thinker classes
(`model.layers`), of the full class (`thinker. ...`), and with what sharding and compiling put between. Written under
both classes of `transformers` 5, Thinker and full, since neither reads the other's names, with a target pattern that
hits the adapted linears alone under any of them. What is trained whole is PEFT's `modules_to_save`.
"""

from __future__ import annotations

import json
import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from emsa_jax import manifest
from emsa_jax.errors import InputError
from emsa_jax.parallel import processes
from emsa_jax.policy.companions import CARD
from emsa_jax.policy.finite import all_finite
from emsa_jax.policy.hf_config import fits_thinker
from emsa_jax.policy.layout import on_host
from emsa_jax.policy.lora import Adapter, linear_specs
from emsa_jax.policy.parameter_table import ParamSpec, get, nest, param_table
from emsa_jax.policy.peft_names import (
    SPEAKING,
    is_called,
    modules_pattern,
    spellings,
    stem,
    stems,
    unwrapped,
    written,
)
from emsa_jax.policy.peft_settings import PeftSettings, read_settings
from emsa_jax.policy.tensor_files import tensor_layout, write_tensors
from emsa_jax.policy.thinker_config import ThinkerConfig
from emsa_jax.policy.trained_for import TrainedFor, write_trained_for

log = logging.getLogger(__name__)
_KINDS = ("F32", "F16", "BF16", "F64")
_KEY = re.compile(r"(?P<module>.+)\.lora_(?P<half>[AB])(?:\.[^.]+)?\.weight")
_WHOLE_KEY = re.compile(r"(?P<module>.+?)(?:\.modules_to_save(?:\.[^.]+)?)?\.(?P<kind>\w+)")


def load_adapter(directory: str | Path, config: ThinkerConfig) -> Adapter:
    """Reads `adapter_config.json` + `adapter_model.safetensors` for the policy that `config` describes.

    Raises: InputError naming the file and the key: an adapter for another base, a missing half or layer, an
    option of PEFT that is not plain LoRA.
    """
    directory = Path(directory)
    manifest.require_sound(directory)
    path = directory / "adapter_config.json"
    settings = read_settings(path)
    file = directory / "adapter_model.safetensors"
    try:
        kinds = {name: kind for name, (kind, _, _) in tensor_layout(file).items() if kind not in _KINDS}
        tensors = {} if kinds else load_file(file)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"{directory}: needs a readable adapter_model.safetensors beside adapter_config.json ({error})"
        ) from error
    for name, kind in kinds.items():
        raise InputError(f"{file}: {name} is of type {kind}, but only {', '.join(_KINDS)} are read")
    for name, tensor in tensors.items():
        if not all_finite(tensor):
            raise InputError(
                f"{file}: {name} holds numbers that are not finite, or not as "
                "bfloat16; restore the file from a sound copy"
            )
    speaking = {name for name in tensors if unwrapped(name).startswith(tuple(f"{part}." for part in SPEAKING))}
    if speaking:
        log.warning(
            f"{directory}: {len(speaking)} tensors of the half that speaks are left out, first {min(speaking)!r}"
        )
    tensors = {name: tensor for name, tensor in tensors.items() if name not in speaking}
    whole, rest = _read_whole(tensors, config, settings.whole, path)
    return Adapter(_stack(rest, config, settings, directory), settings.scale, whole)


def _read_whole(tensors: dict, config: ThinkerConfig, saved: tuple[str, ...], path: Path) -> tuple[dict, dict]:
    """(what is trained whole, as a part of the tree of parameters; the tensors that are left).

    saved: ends of the names of modules that are trained whole. path: of the adapter's configuration, for errors."""
    every = stems(param_table(config))
    for end in saved:
        if not any(is_called(*at, (end,)) for at in every.values()):
            raise InputError(f"{path}: modules_to_save names {end}, which this policy does not have")
    wanted = {name: at for name, at in every.items() if is_called(*at, saved)}
    found, rest = {}, {}
    for key, tensor in tensors.items():
        match = _WHOLE_KEY.fullmatch(key)
        name = stem(f"{match['module']}.{match['kind']}") if match else ""
        if name not in wanted:
            rest[key] = tensor
        elif tensor.shape != wanted[name][0].shape:
            raise InputError(
                f"{path.parent}: adapter tensor {key!r} of shape {list(tensor.shape)} is for another base: "
                f"this one needs {list(wanted[name][0].shape)}"
            )
        elif name in found and not np.array_equal(tensor, found[name]):
            raise InputError(f"{path.parent}: adapter tensor {key!r} is there twice, with other values")
        else:
            found[name] = tensor
    if missing := sorted(wanted.keys() - found.keys()):
        raise InputError(f"{path}: modules_to_save asks for {missing[0]}, but the adapter does not hold it")
    stacks: dict[ParamSpec, list[np.ndarray]] = {}
    for name, (spec, _) in wanted.items():
        stacks.setdefault(spec, []).append(np.asarray(found[name], np.float32))
    whole = ((spec.path, np.stack(stack) if spec.layers else stack[0]) for spec, stack in stacks.items())
    return jax.tree.map(jnp.asarray, nest(whole)), rest


@dataclass(frozen=True)
class _Half:
    """A of one linear in one layer, [rank, in], or B, [out, rank], and the scale of its pair."""

    key: str
    tensor: np.ndarray
    rank: int
    scale: float


def _stack(tensors: dict, config: ThinkerConfig, settings: PeftSettings, directory: Path) -> dict:
    """The pairs of LoRA matrices, those of all layers of a linear in one array: of the largest rank that a layer has,
    with zeros where it has a smaller one. Other scales than the adapter's are in B."""
    if not tensors:
        raise InputError(f"{directory}: no adapter tensors")
    known = {_module(name): at for name, at in stems(linear_specs(config).values()).items()}
    halves = _halves(tensors, known, settings, directory)
    rank, weights = max(half.rank for half in halves.values()), {}
    specs = {_place(spec): spec for spec, _ in known.values()}
    for (tower, name, half, layer), found in halves.items():
        out, width = (spec := specs[tower, name]).shape
        lead = spec.stacked_shape[:-2]
        pair = weights.setdefault(tower, {}).setdefault(
            name, {"a": np.zeros((*lead, rank, width), np.float32), "b": np.zeros((*lead, out, rank), np.float32)}
        )
        place = pair[half][layer if lead else ...]
        if half == "a":
            place[: found.rank] = found.tensor
        else:
            place[:, : found.rank] = found.tensor
        if half == "b" and found.scale != settings.scale:
            with np.errstate(over="ignore", invalid="ignore"):  # which is named below
                place *= np.float32(found.scale / settings.scale)
            if not all_finite(place):
                raise InputError(
                    f"{directory}: adapter tensor {found.key!r} is too large under alpha_pattern and rank_pattern"
                )
    for spec, layer in known.values():
        tower, name = _place(spec)
        for half in "ab":
            if name in weights.get(tower, {}) and (tower, name, half, layer) not in halves:
                raise InputError(
                    f"{directory}: lora_{half.upper()} of {tower} {name} in layer {layer} is "
                    "missing: damaged, or an adapter for another base"
                )
    return jax.tree.map(jnp.asarray, weights)


def _halves(
    tensors: dict, known: dict[str, tuple[ParamSpec, int]], settings: PeftSettings, directory: Path
) -> dict[tuple[str, str, str, int], _Half]:
    """(tower, linear, half, layer) -> its matrix, whose shape is that of the policy's linear.

    known: stems of the modules that can carry an adapter."""
    found: dict[tuple[str, str, str, int], _Half] = {}
    for key, tensor in sorted(tensors.items()):
        match = _KEY.fullmatch(key)
        module = stem(match["module"]) if match else ""
        spec, layer = known.get(module) or (_in_another_layer(module, known), None)
        if spec is None:
            raise InputError(f"{directory}: adapter tensor {key!r} belongs to no linear of this policy")
        (out, width), half = spec.shape, match["half"].lower()
        names = (unwrapped(match["module"]), *map(_module, spellings(spec, layer or 0)))
        rank, scale = settings.of(names)
        want = (rank, width) if half == "a" else (out, rank)
        if layer is None or tensor.shape != want:
            raise InputError(
                f"{directory}: adapter tensor {key!r} of shape {list(tensor.shape)} is for another base: "
                f"this one has {spec.layers} layers and needs {list(want)}"
            )
        at = (*_place(spec), half, layer)
        if at in found and not np.array_equal(tensor, found[at].tensor):
            raise InputError(f"{directory}: adapter tensor {key!r} is there twice, in two spellings with other values")
        found[at] = _Half(key, tensor, rank, scale)
    return found


def _module(name: str) -> str:
    """The module that a parameter belongs to."""
    return name.rpartition(".")[0]


def _place(spec: ParamSpec) -> tuple[str, str]:
    """(tower, name) of a linear's weight."""
    return spec.path[0], spec.path[-2]


def _in_another_layer(module: str, known: dict) -> ParamSpec | None:
    """The linear that a module would be if the policy had more layers."""
    spec, _ = known.get(re.sub(r"(layers|blocks)\.\d+\.", r"\1.0.", module, count=1), (None, 0))
    return spec


def save_adapter(
    directory: str | Path,
    config: ThinkerConfig,
    adapter: Adapter,
    base: str = "",
    extra: dict | None = None,
    trained_for: TrainedFor | None = None,
    card: str = "",
) -> None:
    """Writes an adapter directory that PEFT loads, with a hash manifest, all or nothing. Process 0 writes; all take
    part, as in `hf.save`.

    Args:
      config: of the policy that it is for.
      base: what `base_model_name_or_path` shall say.
      extra: entries for the manifest.
      trained_for: how the policy is to be asked with it.
      card: the model card.

    Raises: InputError, with nothing written, for numbers that are not finite.
    """
    if not math.isfinite(adapter.scale):
        raise InputError(f"{directory}: not written, since alpha / rank of the adapter is {adapter.scale}")
    weights, whole = jax.tree.map(on_host, (adapter.weights, adapter.whole))
    if not processes.is_main():
        return processes.broadcast(lambda: None, "an adapter is saved")
    linears = linear_specs(config)
    classes = _classes(config)
    with manifest.staged(directory, extra) as part:
        tensors, rank, specs = {}, 0, []
        for tower, pairs in weights.items():
            for name, ab in pairs.items():
                rank, spec = ab["a"].shape[-2], linears[tower, name]
                specs.append(spec)
                for layer in range(spec.layers or 1):
                    module = _module(written(spec, layer, config.text_alone))
                    for half in "ab":
                        matrix = np.asarray(ab[half][layer if spec.layers else ...], np.float32)
                        tensors |= {f"{at}{module}.lora_{half.upper()}.weight": matrix for at in classes}
        saved = {}
        for spec, layer in stems(param_table(config)).values():
            if _holds(whole, spec.path):
                name, values = written(spec, layer, config.text_alone), get(whole, spec.path)
                values = np.asarray(values[layer if spec.layers else ...], np.float32)
                tensors |= {f"{at}{name}": values for at in classes}
                saved[_module(name).removeprefix("model.")] = None
        write_tensors(tensors, part / "adapter_model.safetensors")
        raw = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": rank,
            "lora_alpha": adapter.scale * rank,
            "lora_dropout": 0.0,
            "bias": "none",
            "inference_mode": True,
            "fan_in_fan_out": False,
            "target_modules": modules_pattern(specs),
            "modules_to_save": list(saved) or None,
        }
        (part / "adapter_config.json").write_text(json.dumps(raw, indent=2) + "\n")
        if trained_for:
            write_trained_for(part, trained_for)
        if card:
            (part / CARD).write_text(card)
    processes.broadcast(lambda: None, "an adapter is saved")


def _classes(config: ThinkerConfig) -> tuple[str, ...]:
    """What stands in front of a module's name, for each class that a policy can be opened with: PEFT loads what it
    finds under its own class's names and passes over the rest."""
    return ("base_model.model.", *(["base_model.model.thinker."] if fits_thinker(config) else []))


def _holds(tree: dict, path: tuple[str, ...]) -> bool:
    """Whether a nested dict has something at a path."""
    for key in path:
        if key not in tree:
            return False
        tree = tree[key]
    return True
