"""The mesh: how many devices split the batch, the frozen weights and the heads.

    data     batch; weights are copies
    fsdp     batch, and the weights too: gathered where they are used
    tensor   heads, MLP and vocabulary

Slices (groups of TPU hosts without fast links between them) and the machines of a GPU cluster divide `data`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh

from emsa_jax.errors import InputError
from emsa_jax.parallel.parallel_options import AXES, MeshOptions

BATCH_AXES = ("data", "fsdp")

# (data, fsdp, tensor) for Qwen2.5-Omni-7B in bfloat16; the numbers behind them: docs/scaling.md
PRESETS = {
    "v5e-16": (4, 1, 4),
    "v5p-8": (4, 1, 1),
    "v5p-64": (32, 1, 1),
    "h100-1": (1, 1, 1),
    "h100-8": (8, 1, 1),
    "h200-1": (1, 1, 1),
    "h200-8": (8, 1, 1),
}
_ROOM = 0.4  # share of a device's memory that weights and trained state may take; caches and activations get the rest


@dataclass(frozen=True)
class StandIn:
    """A device that nothing is compiled for: a mesh of these has sizes and a platform, and that is all."""

    id: int
    platform: str
    device_kind: str
    slice_index: int = 0
    process_index: int = 0
    client: None = None


@dataclass(frozen=True)
class Need:
    """What has to fit. weights: bytes of the policy's parameters. trained: bytes of trained parameters with their
    optimizer's state. heads, kv_heads: of the decoder."""

    weights: int
    trained: int
    heads: int
    kv_heads: int


def choose(
    options: MeshOptions, devices: int, kind: str = "", memory: int = 0, need: Need | None = None
) -> tuple[tuple[int, int, int], str]:
    """((data, fsdp, tensor), why).

    kind, memory: of one device, the latter in bytes (0: unknown). Raises InputError if the sizes do not make up
    `devices`.
    """
    given = (options.data, options.fsdp, options.tensor)
    if any(given):
        fsdp, tensor = options.fsdp or 1, options.tensor or 1
        sizes, why = (options.data or devices // (fsdp * tensor), fsdp, tensor), "as mesh.* says"
    elif options.preset != "auto":
        sizes, why = PRESETS[options.preset], f"preset {options.preset}"
    else:
        sizes, why = _auto(devices, kind, memory, need)
    if math.prod(sizes) != devices:
        raise InputError(
            f"mesh: data {sizes[0]} x fsdp {sizes[1]} x tensor {sizes[2]} is not the {devices} devices "
            f"that there are ({why}); set mesh.data, mesh.fsdp or mesh.tensor"
        )
    return sizes, why


def _auto(devices: int, kind: str, memory: int, need: Need | None) -> tuple[tuple[int, int, int], str]:
    if devices == 1 or not memory or need is None:
        return (devices, 1, 1), "one device" if devices == 1 else "memory unknown, weights copied"
    room = int(_ROOM * memory)
    held, where = need.weights + need.trained, f"of {memory / 1e9:.0f} GB on each {kind}"
    tensors = [t for t in range(1, devices + 1) if devices % t == 0 and need.heads % t == 0 and need.kv_heads % t == 0]
    for tensor in tensors:
        if held / tensor <= room:
            reason = "copied" if tensor == 1 else f"cut over {tensor} devices by heads"
            return (devices // tensor, 1, tensor), f"{held / 1e9:.1f} GB {reason}: at most {_ROOM:.0%} {where}"
    tensor = tensors[-1]
    left = devices // tensor
    fsdp = next((f for f in range(1, left + 1) if left % f == 0 and held / (tensor * f) <= room), left)
    return (left // fsdp, fsdp, tensor), (
        f"{held / 1e9:.1f} GB cut over {tensor} devices by heads are still more than "
        f"{_ROOM:.0%} {where}, so fsdp cuts them over {fsdp}"
    )


def make_mesh(
    options: MeshOptions, devices: Sequence[Any] | None = None, need: Need | None = None, memory: int = 0
) -> tuple[Mesh, str]:
    """(mesh with the axes data, fsdp, tensor; why these sizes).

    devices: default all of the run; those of a topology without hardware do as well, and stand-ins. memory: bytes of
    one device.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes, why = choose(options, len(devices), devices[0].device_kind, memory, need)
    there = len({getattr(d, "slice_index", None) or 0 for d in devices})
    slices = options.slices or there
    if slices != there and devices[0].platform != "cpu":
        raise InputError(f"mesh.slices is {slices}, but the devices are of {there}; leave it 0")
    if sizes[0] % slices:
        raise InputError(f"mesh.data {sizes[0]} must be a multiple of the {slices} slices")
    if devices[0].platform == "cpu" or len(devices) == 1 or isinstance(devices[0], StandIn):
        ordered = np.array(sorted(devices, key=lambda d: (d.process_index, d.id))).reshape(sizes)
    elif slices > 1:
        ordered = mesh_utils.create_hybrid_device_mesh(
            (sizes[0] // slices, *sizes[1:]), (slices, 1, 1), devices, allow_split_physical_axes=True
        )
    else:
        ordered = mesh_utils.create_device_mesh(sizes, devices, allow_split_physical_axes=True)
    return Mesh(ordered, AXES), why


def batch_shards(mesh: Mesh) -> int:
    """Parts that a batch is cut into."""
    return math.prod(mesh.shape[name] for name in BATCH_AXES)


def rows_held(mesh: Mesh, process: int) -> tuple[int, int]:
    """(group, groups): a process reads part `group` of `groups` equal parts of every batch.

    Processes whose devices are of the same part read the same rows. Raises InputError where the parts of its devices
    are not neighbours, or processes hold different numbers of them.
    """
    parts = mesh.devices.reshape(batch_shards(mesh), -1)
    held = {}
    for part, devices in enumerate(parts):
        for device in devices:
            held.setdefault(device.process_index, set()).add(part)
    own = sorted(held[process])
    fits = all(len(h) == len(own) for h in held.values()) and own[-1] - own[0] == len(own) - 1
    if not fits or own[0] % len(own):
        raise InputError(
            f"mesh: process {process} would hold parts {own} of {len(parts)} of a batch, which are no "
            "block of their own; choose another mesh.tensor"
        )
    return own[0] // len(own), len(parts) // len(own)
