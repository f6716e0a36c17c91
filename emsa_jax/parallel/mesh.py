"""The mesh: over how many devices the batch, the frozen weights and the heads are cut.

    data     cuts the batch; every device along it has a copy of the weights
    fsdp     cuts the batch and the weights, which are gathered where they are used
    tensor   cuts heads, MLP and vocabulary

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
_WEIGHTS_LIMIT = 0.4  # part of a device's memory for weights and trained state; caches and activations get the rest


@dataclass(frozen=True)
class StandIn:
    """What a mesh needs to know of a device. Nothing can be compiled for it."""

    id: int
    platform: str
    device_kind: str
    slice_index: int = 0
    process_index: int = 0
    client: None = None


@dataclass(frozen=True)
class Need:
    """What has to fit into the devices.

    Attributes:
      weights: bytes of the policy's parameters.
      trained: bytes of the trained parameters, their gradients and the state of their optimizer.
      heads, kv_heads: of the decoder, which `tensor` cuts.
    """

    weights: int
    trained: int
    heads: int
    kv_heads: int


def choose(
    options: MeshOptions, devices: int, kind: str = "", memory: int = 0, need: Need | None = None
) -> tuple[tuple[int, int, int], str]:
    """The sizes (data, fsdp, tensor) of the mesh, and why they are so.

    Args:
      devices: how many there are.
      kind: the name of a device, for the reason.
      memory: bytes of one device; 0 if they are not known.
      need: what has to fit.

    Raises:
      InputError: the sizes that the options ask for do not make up `devices`.
    """
    given = (options.data, options.fsdp, options.tensor)
    if any(given):
        fsdp, tensor = options.fsdp or 1, options.tensor or 1
        sizes, reason = (options.data or devices // (fsdp * tensor), fsdp, tensor), "as mesh.* says"
    elif options.preset != "auto":
        sizes, reason = PRESETS[options.preset], f"preset {options.preset}"
    else:
        sizes, reason = _auto(devices, kind, memory, need)
    if math.prod(sizes) != devices:
        raise InputError(
            f"mesh: data {sizes[0]} x fsdp {sizes[1]} x tensor {sizes[2]} is not the {devices} devices "
            f"that there are ({reason}); set mesh.data, mesh.fsdp or mesh.tensor"
        )
    return sizes, reason


def _auto(devices: int, kind: str, memory: int, need: Need | None) -> tuple[tuple[int, int, int], str]:
    """The sizes that cut the weights as little as the memory allows: first over `tensor`, then over `fsdp`."""
    if devices == 1 or not memory or need is None:
        return (devices, 1, 1), "one device" if devices == 1 else "memory unknown, weights copied"
    limit = int(_WEIGHTS_LIMIT * memory)
    held, of_memory = need.weights + need.trained, f"of {memory / 1e9:.0f} GB on each {kind}"
    tensors = [t for t in range(1, devices + 1) if devices % t == 0 and need.heads % t == 0 and need.kv_heads % t == 0]
    for tensor in tensors:
        if held / tensor <= limit:
            reason = "copied" if tensor == 1 else f"cut over {tensor} devices by heads"
            return (
                devices // tensor,
                1,
                tensor,
            ), f"{held / 1e9:.1f} GB {reason}: at most {_WEIGHTS_LIMIT:.0%} {of_memory}"
    tensor = tensors[-1]
    left = devices // tensor
    fsdp = next((f for f in range(1, left + 1) if left % f == 0 and held / (tensor * f) <= limit), left)
    return (left // fsdp, fsdp, tensor), (
        f"{held / 1e9:.1f} GB cut over {tensor} devices by heads are still more than "
        f"{_WEIGHTS_LIMIT:.0%} {of_memory}, so fsdp cuts them over {fsdp}"
    )


def make_mesh(
    options: MeshOptions, devices: Sequence[Any] | None = None, need: Need | None = None, memory: int = 0
) -> tuple[Mesh, str]:
    """The mesh with the axes data, fsdp and tensor, and why they have their sizes.

    Args:
      devices: all of the run by default; also those of a topology without hardware, or stand-ins.
      need: what has to fit. memory: bytes of one device; 0 if they are not known.

    Raises:
      InputError: the sizes do not make up the devices, or their slices do not divide `data`.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes, reason = choose(options, len(devices), devices[0].device_kind, memory, need)
    slices = len({getattr(d, "slice_index", None) or 0 for d in devices})
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
    return Mesh(ordered, AXES), reason


def batch_shards(mesh: Mesh) -> int:
    """How many equal parts the mesh cuts a batch into."""
    return math.prod(mesh.shape[name] for name in BATCH_AXES)


def rows_held(mesh: Mesh, process: int) -> tuple[int, int]:
    """(group, groups): a process reads part `group` of `groups` equal parts of every batch.

    Processes whose devices hold the same part read the same rows.

    Raises:
      InputError: the shards of a process are not neighbours, or processes hold different numbers of them.
    """
    parts = mesh.devices.reshape(batch_shards(mesh), -1)
    held = {}
    for part, devices in enumerate(parts):
        for device in devices:
            held.setdefault(device.process_index, set()).add(part)
    mine = sorted(held[process])
    are_neighbours = all(len(h) == len(mine) for h in held.values()) and mine[-1] - mine[0] == len(mine) - 1
    if not are_neighbours or mine[0] % len(mine):
        raise InputError(
            f"mesh: process {process} would hold parts {mine} of {len(parts)} of a batch, which are no "
            "block of their own; choose another mesh.tensor"
        )
    return mine[0] // len(mine), len(parts) // len(mine)
