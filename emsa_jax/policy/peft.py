"""PEFT adapter directories in and out.

Read in all three spellings that are around: under `transformers` 5 (`model.language_model.layers`), older thinker
class (`model.layers`) and full class (`thinker.model.layers`). Written in the first, with a target pattern that hits
the adapted linears alone under any of them. What is trained whole is PEFT's `modules_to_save`.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from emsa_jax import manifest
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object
from emsa_jax.parallel import processes
from emsa_jax.policy.finite import all_finite
from emsa_jax.policy.layout import on_host
from emsa_jax.policy.lora import Adapter, linear_specs
from emsa_jax.policy.parameter_table import ParamSpec, get, nest, param_table
from emsa_jax.policy.peft_names import is_called, module_pattern, stem, stems, written
from emsa_jax.policy.tensor_files import write_tensors
from emsa_jax.policy.thinker_config import ThinkerConfig

_KEY = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<half>[AB])(?:\.default)?\.weight")
_WHOLE_KEY = re.compile(
    r"base_model\.model\.(?P<module>.+?)(?:\.modules_to_save(?:\.default)?)?\.(?P<kind>weight|bias)"
)
_READ = ("peft_type", "r", "lora_alpha", "use_rslora", "bias", "init_lora_weights", "modules_to_save")
# say how an adapter was made or is named, or matter to training alone
_WITHOUT_EFFECT = (
    "task_type",
    "auto_mapping",
    "peft_version",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "lora_dropout",
    "target_modules",
    "exclude_modules",
    "layers_pattern",
    "runtime_config",
    "megatron_core",
    "ensure_weight_tying",
    "qalora_group_size",
    "loftq_config",
    "eva_config",
)
_MOST_RANK, _MOST_ALPHA = 2**16, 1e6
_KEEPS_BASE = ("none", "true", "false", "gaussian", "eva", "orthogonal")  # other initialisations rewrite its weights


def load_adapter(directory: str | Path, config: ThinkerConfig) -> Adapter:
    """Reads `adapter_config.json` + `adapter_model.safetensors` for the policy that `config` describes.

    Raises: InputError naming the file and the key: an adapter for another base, a missing half or layer, an
    option of PEFT that is not plain LoRA.
    """
    directory = Path(directory)
    manifest.require_sound(directory)
    path = directory / "adapter_config.json"
    rank, scale, saved = _read_settings(path)
    try:
        tensors = load_file(directory / "adapter_model.safetensors")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InputError(
            f"{directory}: needs a readable adapter_model.safetensors beside adapter_config.json ({error})"
        ) from error
    for name, tensor in tensors.items():
        if not all_finite(tensor):
            raise InputError(
                f"{directory / 'adapter_model.safetensors'}: {name} holds numbers that are not finite, or not as "
                "bfloat16; restore the file from a sound copy"
            )
    whole, rest = _read_whole(tensors, config, saved, path)
    return Adapter(_stack(rest, config, rank, directory), scale, whole)


def _read_settings(path: Path) -> tuple[int, float, tuple[str, ...]]:
    """(rank, alpha / rank, ends of the names of modules that are trained whole) of an adapter_config.json.

    Raises: InputError naming the field, for what is not plain LoRA; options that are not known are not ignored."""
    raw = read_object(path)
    if raw is None:
        raise InputError(f"{path}: is missing; a directory of an adapter needs it")
    if raw.get("peft_type", "LORA") != "LORA":
        raise InputError(f"{path}: peft_type is {raw['peft_type']!r}, but only LORA is supported")
    for field, value in raw.items():
        if value and field not in (*_READ, *_WITHOUT_EFFECT):
            raise InputError(f"{path}: {field} is set, but only plain LoRA is supported")
    if raw.get("bias", "none") != "none":
        raise InputError(f"{path}: bias is {raw['bias']!r}, but only 'none' is supported")
    if str(raw.get("init_lora_weights")).lower() not in _KEEPS_BASE:
        raise InputError(
            f"{path}: init_lora_weights is {raw['init_lora_weights']!r}, which changes the base; "
            "convert the adapter to plain LoRA"
        )
    rank, alpha, root = raw.get("r"), raw.get("lora_alpha"), raw.get("use_rslora")
    if type(rank) is not int or not 1 <= rank <= _MOST_RANK:
        raise InputError(f"{path}: r is {rank!r}, but must be a whole number from 1 to {_MOST_RANK}")
    if type(alpha) not in (int, float) or not 0 < abs(alpha) <= _MOST_ALPHA:
        raise InputError(f"{path}: lora_alpha is {alpha!r}, but must be a number that is not 0, up to {_MOST_ALPHA}")
    if root not in (None, False, True):
        raise InputError(f"{path}: use_rslora is {root!r}, but must be true or false")
    saved = raw.get("modules_to_save") or []
    if not isinstance(saved, list) or not all(isinstance(name, str) for name in saved):
        raise InputError(f"{path}: modules_to_save is {saved!r}, but must be a list of names")
    return rank, alpha / (rank**0.5 if root else rank), tuple(saved)


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
        else:
            found[name] = tensor
    if missing := sorted(wanted.keys() - found.keys()):
        raise InputError(f"{path}: modules_to_save asks for {missing[0]}, but the adapter does not hold it")
    stacks: dict[ParamSpec, list[np.ndarray]] = {}
    for name, (spec, _) in wanted.items():
        stacks.setdefault(spec, []).append(np.asarray(found[name], np.float32))
    whole = ((spec.path, np.stack(stack) if spec.layers else stack[0]) for spec, stack in stacks.items())
    return jax.tree.map(jnp.asarray, nest(whole)), rest


def _stack(tensors: dict, config: ThinkerConfig, rank: int, directory: Path) -> dict:
    """The pairs of LoRA matrices, those of all layers of a linear in one array."""
    if not tensors:
        raise InputError(f"{directory}: no adapter tensors")
    linears = linear_specs(config)
    known = {_module(name): at for name, at in stems(linears.values()).items()}
    weights: dict = {}
    seen: set = set()
    for key, tensor in sorted(tensors.items()):
        match = _KEY.fullmatch(key)
        module = stem(match["module"]) if match else ""
        spec, layer = known.get(module) or (_in_another_layer(module, known), None)
        if spec is None:
            raise InputError(f"{directory}: adapter tensor {key!r} belongs to no linear of this policy")
        (out, width), half, (tower, name) = spec.shape, match["half"].lower(), _place(spec)
        want = (rank, width) if half == "a" else (out, rank)
        if layer is None or tensor.shape != want:
            raise InputError(
                f"{directory}: adapter tensor {key!r} of shape {list(tensor.shape)} is for another base: "
                f"this one has {spec.layers} layers and needs {list(want)}"
            )
        if (tower, name, half, layer) in seen:
            raise InputError(f"{directory}: adapter tensor {key!r} is there twice, in two spellings")
        lead = spec.stacked_shape[:-2]
        pair = weights.setdefault(tower, {}).setdefault(
            name, {"a": np.zeros((*lead, rank, width), np.float32), "b": np.zeros((*lead, out, rank), np.float32)}
        )
        pair[half][layer if lead else ...] = tensor
        seen.add((tower, name, half, layer))
    for spec, layer in known.values():
        tower, name = _place(spec)
        for half in "ab":
            if name in weights.get(tower, {}) and (tower, name, half, layer) not in seen:
                raise InputError(
                    f"{directory}: lora_{half.upper()} of {tower} {name} in layer {layer} is "
                    "missing: damaged, or an adapter for another base"
                )
    return jax.tree.map(jnp.asarray, weights)


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
    directory: str | Path, config: ThinkerConfig, adapter: Adapter, base: str = "", extra: dict | None = None
) -> None:
    """Writes an adapter directory that PEFT loads, with a hash manifest, all or nothing. Process 0 writes; all take
    part, as in `hf.save`.

    Args:
      config: of the policy that it is for.
      base: what `base_model_name_or_path` shall say.
      extra: entries for the manifest.

    Raises: InputError, with nothing written, for numbers that are not finite.
    """
    if not math.isfinite(adapter.scale):
        raise InputError(f"{directory}: not written, since alpha / rank of the adapter is {adapter.scale}")
    weights, whole = jax.tree.map(on_host, (adapter.weights, adapter.whole))
    if not processes.is_main():
        return processes.broadcast(lambda: None, "an adapter is saved")
    linears = linear_specs(config)
    with manifest.staged(directory, extra) as part:
        tensors, rank, specs = {}, 0, []
        for tower, pairs in weights.items():
            for name, ab in pairs.items():
                rank, spec = ab["a"].shape[-2], linears[tower, name]
                specs.append(spec)
                for layer in range(spec.layers or 1):
                    module = "base_model.model." + _module(written(spec, layer, config.text_alone))
                    for half in "ab":
                        matrix = ab[half][layer if spec.layers else ...]
                        tensors[f"{module}.lora_{half.upper()}.weight"] = np.asarray(matrix, np.float32)
        saved = {}
        for spec, layer in stems(param_table(config)).values():
            if _holds(whole, spec.path):
                name, values = written(spec, layer, config.text_alone), get(whole, spec.path)
                tensors[f"base_model.model.{name}"] = np.asarray(values[layer if spec.layers else ...], np.float32)
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
            "target_modules": "|".join(map(module_pattern, specs)),
            "modules_to_save": list(saved) or None,
        }
        (part / "adapter_config.json").write_text(json.dumps(raw, indent=2) + "\n")
    processes.broadcast(lambda: None, "an adapter is saved")


def _holds(tree: dict, path: tuple[str, ...]) -> bool:
    """Whether a nested dict has something at a path."""
    for key in path:
        if key not in tree:
            return False
        tree = tree[key]
    return True
