"""PEFT adapter directories in and out.

Read in all three spellings that are around: under `transformers` 5 (`model.language_model.layers`), older thinker
class (`model.layers`) and full class (`thinker.model.layers`). Written in the first, with a target pattern that hits
the text decoder alone under any of them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from emsa_jax import manifest
from emsa_jax.errors import InputError
from emsa_jax.parallel import processes
from emsa_jax.policy.layout import on_host
from emsa_jax.policy.lora import Adapter, linear_shapes
from emsa_jax.policy.tensor_files import write_tensors
from emsa_jax.policy.thinker_config import ThinkerConfig

_KEY = re.compile(
    r"base_model\.model\.(?:thinker\.)?(?:model\.)?"
    r"(?P<tower>language_model\.|audio_tower\.|visual\.)?"
    r"(?:layers|blocks)\.(?P<layer>\d+)\.(?P<name>[a-z0-9_.]+?)\.lora_(?P<half>[AB])(?:\.default)?\.weight"
)
_TOWERS = {None: "text", "language_model.": "text", "audio_tower.": "audio", "visual.": "vision"}
_GROUPS = {
    "text": {
        "q_proj": "self_attn",
        "k_proj": "self_attn",
        "v_proj": "self_attn",
        "o_proj": "self_attn",
        "gate_proj": "mlp",
        "up_proj": "mlp",
        "down_proj": "mlp",
    },
    "audio": {"q_proj": "self_attn", "k_proj": "self_attn", "v_proj": "self_attn", "out_proj": "self_attn"},
    "vision": {
        "q": "attn",
        "k": "attn",
        "v": "attn",
        "proj": "attn",
        "gate_proj": "mlp",
        "up_proj": "mlp",
        "down_proj": "mlp",
    },
}
_PLACE = {"text": "model.language_model.layers", "audio": "model.audio_tower.layers", "vision": "model.visual.blocks"}
_UNSUPPORTED = (
    "use_dora",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layers_to_transform",
    "lora_bias",
    "fan_in_fan_out",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "use_qalora",
    "use_bdlora",
)
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")  # initialisations that rewrite the base's weights


def load_adapter(directory: str | Path, config: ThinkerConfig) -> Adapter:
    """Reads `adapter_config.json` + `adapter_model.safetensors` for the policy that `config` describes.

    Raises: InputError naming the file and the key: an adapter for another base, a missing half or layer, an
    option of PEFT that is not plain LoRA.
    """
    directory = Path(directory)
    manifest.require_sound(directory)
    path = directory / "adapter_config.json"
    try:
        raw = json.loads(path.read_text())
        tensors = load_file(directory / "adapter_model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise InputError(
            f"{directory}: needs a readable adapter_config.json and adapter_model.safetensors ({error})"
        ) from error
    if not isinstance(raw, dict):
        raise InputError(f"{path}: not an object")
    if raw.get("peft_type", "LORA") != "LORA":
        raise InputError(f"{path}: peft_type is {raw['peft_type']!r}, but only LORA is supported")
    for field in _UNSUPPORTED:
        if raw.get(field):
            raise InputError(f"{path}: {field} is set, but only plain LoRA is supported")
    if raw.get("bias", "none") != "none":
        raise InputError(f"{path}: bias is {raw['bias']!r}, but only 'none' is supported")
    if str(raw.get("init_lora_weights")).startswith(_CHANGES_BASE):
        raise InputError(
            f"{path}: init_lora_weights is {raw['init_lora_weights']!r}, which changes the base; "
            "convert the adapter to plain LoRA"
        )
    try:
        rank, alpha = int(raw["r"]), float(raw["lora_alpha"])
        if rank < 1:
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: r and lora_alpha must be numbers, r positive") from error
    weights = _stack(tensors, linear_shapes(config), rank, directory)
    return Adapter(weights, alpha / (rank**0.5 if raw.get("use_rslora") else rank))


def _stack(tensors: dict, shapes: dict, rank: int, directory: Path) -> dict:
    if not tensors:
        raise InputError(f"{directory}: no adapter tensors")
    weights: dict = {}
    seen: set = set()
    for key, tensor in sorted(tensors.items()):
        match = _KEY.fullmatch(key)
        tower = _TOWERS[match["tower"]] if match else None
        name = match["name"].rsplit(".", 1)[-1] if match else ""
        if not match or (tower, name) not in shapes:
            raise InputError(f"{directory}: adapter tensor {key!r} belongs to no linear of this policy")
        layers, out, width = shapes[tower, name]
        layer, half = int(match["layer"]), match["half"].lower()
        want = (rank, width) if half == "a" else (out, rank)
        if layer >= layers or tensor.shape != want:
            raise InputError(
                f"{directory}: adapter tensor {key!r} of shape {list(tensor.shape)} is for another base: "
                f"this one has {layers} layers and needs {list(want)}"
            )
        if (tower, name, half, layer) in seen:
            raise InputError(f"{directory}: adapter tensor {key!r} is there twice, in two spellings")
        pair = weights.setdefault(tower, {}).setdefault(
            name, {"a": np.zeros((layers, rank, width), np.float32), "b": np.zeros((layers, out, rank), np.float32)}
        )
        pair[half][layer] = tensor
        seen.add((tower, name, half, layer))
    for tower, linears in weights.items():
        for name in linears:
            for layer in range(shapes[tower, name][0]):
                for half in "ab":
                    if (tower, name, half, layer) not in seen:
                        raise InputError(
                            f"{directory}: lora_{half.upper()} of {tower} {name} in layer {layer} is "
                            "missing: damaged, or an adapter for another base"
                        )
    return {
        t: {n: {h: jnp.asarray(x) for h, x in ab.items()} for n, ab in names.items()} for t, names in weights.items()
    }


def save_adapter(directory: str | Path, adapter: Adapter, base: str = "", extra: dict | None = None) -> None:
    """Writes an adapter directory that PEFT loads, with a hash manifest, all or nothing. Process 0 writes; all take
    part, as in `hf.save`.

    Args:
      base: what `base_model_name_or_path` shall say.
      extra: entries for the manifest.
    """
    weights = {
        tower: {name: {half: on_host(array) for half, array in ab.items()} for name, ab in linears.items()}
        for tower, linears in adapter.weights.items()
    }
    if not processes.is_main():
        return processes.broadcast(lambda: None, "an adapter is saved")
    with manifest.staged(directory, extra) as part:
        tensors, rank = {}, 0
        for tower, linears in weights.items():
            for name, ab in linears.items():
                rank = ab["a"].shape[1]
                for layer in range(ab["a"].shape[0]):
                    place = f"base_model.model.{_PLACE[tower]}.{layer}.{_module(tower, name)}"
                    tensors[f"{place}.lora_A.weight"] = np.asarray(ab["a"][layer], np.float32)
                    tensors[f"{place}.lora_B.weight"] = np.asarray(ab["b"][layer], np.float32)
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
            "target_modules": _target_pattern(adapter),
        }
        (part / "adapter_config.json").write_text(json.dumps(raw, indent=2) + "\n")
    processes.broadcast(lambda: None, "an adapter is saved")


def _module(tower: str, name: str) -> str:
    group = _GROUPS[tower].get(name)
    return f"{group}.{name}" if group else name


def _target_pattern(adapter: Adapter) -> str:
    """A pattern over module names: a bare list of names would hit the audio tower's linears too."""
    places = {"text": r"(?:language_model|model)\.layers", "audio": r"audio_tower\.layers", "vision": r"visual\.blocks"}
    return "|".join(
        rf".*(?:^|\.){places[tower]}\.\d+\.(?:[a-z_]+\.)?(?:{'|'.join(linears)})"
        for tower, linears in adapter.weights.items()
    )
