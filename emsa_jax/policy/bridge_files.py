"""Bridges on disk: as stages 1 and 2 write them, and under the names of XEmoGPT's published checkpoint.

The published names are `visual_encoder.*` and `visual_llm_project` of VECB and its projection, `audio_encoder.*` and
`audio_llm_project` of AECB and its own; what else such a checkpoint holds (frozen encoders, the language model) is left
alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
from jax.typing import DTypeLike

from emsa_jax import manifest
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object
from emsa_jax.parallel import processes
from emsa_jax.policy import hf
from emsa_jax.policy.hf_config import bridge_config
from emsa_jax.policy.layout import on_host
from emsa_jax.policy.parameter_table import ParamSpec, bridge_table, get, init_table, linear_params, param_table
from emsa_jax.policy.tensor_files import tensor_files, write_tensors
from emsa_jax.policy.thinker_config import AudioConfig, BridgeConfig, ClipConfig, ThinkerConfig

FRESH = "fresh"  # in place of a directory: drawn at random
PUBLISHED = {"audio": "audio", "vision": "visual"}  # tower -> what its names begin with


@dataclass(frozen=True)
class Bridge:
    """A bridge that was read or drawn. params: as "bridge" of its tower; proj: of its projection, None where the
    directory has none."""

    config: BridgeConfig
    params: dict
    proj: dict | None = None


def read_bridge(
    directory: str, tower: AudioConfig | ClipConfig, width: int, seed: int, dtype: DTypeLike | None = None
) -> Bridge:
    """The bridge behind a tower.

    Args:
      directory: that stage 1 or 2 wrote, or of a checkpoint with the published names; "fresh": two layers are drawn.
      width: of the text model, which a published projection has to have.
      seed: of what is drawn.

    Raises: InputError naming the directory and the field or the tensor.
    """
    fitting = BridgeConfig.after(tower)
    if directory == FRESH:
        return Bridge(fitting, init_table(list(bridge_table(fitting)), jax.random.key(seed), dtype)["bridge"])
    raw = read_object(Path(directory) / "config.json") or {}
    if raw.get("model_type") == "emsa_bridge":
        config = bridge_config({"bridge_config": raw}, f"{directory}/config.json", "bridge")
        config = replace(config, positions=raw.get("positions", 0))
        if replace(config, num_hidden_layers=0, positions=0) != replace(fitting, num_hidden_layers=0, positions=0):
            raise InputError(
                f"{directory}: this bridge is {config.hidden_size} wide with {config.num_attention_heads} heads, but "
                f"the tower wants {fitting.hidden_size} and {fitting.num_attention_heads}"
            )
        if config.sees != fitting.sees:
            raise InputError(f"{directory}: this bridge is one for {'frames' if config.sees else 'sound'}")
        return Bridge(config, hf.load_table(directory, list(bridge_table(config)), dtype)["bridge"])
    return _published(directory, fitting, width, dtype)


def _published(directory: str, fitting: BridgeConfig, width: int, dtype: DTypeLike | None) -> Bridge:
    tower = "vision" if fitting.sees else "audio"
    files, begins = tensor_files(Path(directory)), f"{PUBLISHED[tower]}_encoder."
    layer = re.compile(rf"{re.escape(begins)}\w+_alignment_layer\.(\d+)\.")
    layers = {int(found[1]) for found in map(layer.match, files) if found}
    if not layers:
        raise InputError(
            f"{directory}: no tensors of a bridge behind {begins}*; name a directory that configs/bridges.py wrote, or "
            "a checkpoint of XEmoGPT"
        )
    config = replace(fitting, num_hidden_layers=max(layers) + 1)
    specs = list(_published_bridge(config, tower)) + list(_published_projection(config, tower, width))
    found = hf.load_table(directory, specs, dtype, lambda name: not layer.match(name))[tower]
    return Bridge(config, found["bridge"], found["proj"])


def _published_bridge(config: BridgeConfig, tower: str) -> Iterator[ParamSpec]:
    for spec in bridge_table(config):
        yield replace(spec, path=(tower, *spec.path), disk=f"{PUBLISHED[tower]}_encoder.{spec.disk}")


def _published_projection(config: BridgeConfig, tower: str, width: int) -> Iterator[ParamSpec]:
    size = (width, config.hidden_size)
    yield from linear_params((tower, "proj"), f"{PUBLISHED[tower]}_llm_project", size, ("media", "vision_embed"))


def published_table(config: ThinkerConfig) -> list[ParamSpec]:
    """Bridges and projections of a policy, under the names of the published checkpoint."""
    known, found = {spec.path for spec in param_table(config)}, []
    for tower, bridge in (("audio", config.audio_bridge), ("vision", config.vision_bridge)):
        if bridge:
            found += _published_bridge(bridge, tower)
            found += _published_projection(bridge, tower, config.text.hidden_size)
    return [spec for spec in found if spec.path in known]


def write_published(directory: str | Path, config: ThinkerConfig, params: dict) -> None:
    """Writes bridges and projections of a policy, with a hash manifest, all or nothing, under the published names.

    Process 0 writes; all take part, as in `hf.save`. Raises: InputError for a policy that has no bridge."""
    if not config.bridged:
        raise InputError(f"{directory}: this policy has no bridge to write")
    tensors = {}
    for spec in published_table(config):
        stack = np.asarray(on_host(get(params, spec.path)), np.float32)
        for n in range(max(spec.layers, 1)):
            tensors[spec.disk.format(n=n)] = np.ascontiguousarray(stack[n] if spec.layers else stack)
    if processes.is_main():
        with manifest.staged(Path(directory)) as part:
            write_tensors(tensors, part / "model.safetensors")
    processes.broadcast(lambda: None, "bridges are saved")
