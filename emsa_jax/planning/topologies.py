"""Accelerators by name, with what their data sheets say, and as devices to compile for where there are none.

v5e:4x4        16 chips of a TPU v5e (a v5litepod-16); v5p:2x2x1 is a v5p-8: Google counts its cores
2*v5e:16x16    two slices, without fast links between them
h100:8         GPUs of one machine; h100:16 are two machines of 8
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from emsa_jax.errors import InputError
from emsa_jax.parallel.mesh import StandIn

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One device.

    Attributes:
      kind: part of its name in JAX.
      memory: bytes that programs may use: TPUs' as their compiler has it; GPUs' 92% of all, as launch/env.gpu sets it.
      bandwidth: of its memory, bytes a second. flops: dense bfloat16, a second.
      link: bytes a second that it exchanges with its neighbours along one axis of the mesh, both ways together.
      outer_link: the same between slices, or machines. near: GPUs of a machine; TPUs: 0, a slice has fast links.
      target: what XLA wants to know of a GPU (message GpuTargetConfigProto), beside what all have in common.
    """

    kind: str
    memory: int
    bandwidth: float
    flops: float
    link: float
    outer_link: float
    near: int = 0
    target: Mapping[str, Any] | None = None

    @property
    def platform(self) -> str:
        """ "tpu" or "gpu", as JAX says it."""
        return "gpu" if self.target else "tpu"


def _gpu(
    kind: str,
    total: int,
    bandwidth: float,
    flops: float,
    link: float,
    outer: float,
    name: str,
    cores: int,
    shared: int,
    clock: float,
    capability: int,
) -> Chip:
    target = {
        "memory_bandwidth": int(bandwidth),
        "device_memory_size": total,
        "core_count": cores,
        "shared_memory_per_core": shared,
        "shared_memory_per_block_optin": shared - 1024,
        "clock_rate_ghz": clock,
        "major": capability,
        "name": name,
    }
    return Chip(kind, int(0.92 * total), bandwidth, flops, link, outer, 8, target)


# data sheets of the vendors; links of TPUs: jax-ml.github.io/scaling-book, chapter 2
CHIPS = {
    "v5e": Chip("TPU v5 lite", int(15.75 * GIB), 819e9, 197e12, 90e9, 3.1e9),
    "v6e": Chip("TPU v6 lite", int(31.25 * GIB), 1640e9, 918e12, 180e9, 12.5e9),
    "v5p": Chip("TPU v5", int(95.74 * GIB), 2765e9, 459e12, 180e9, 6.2e9),
    "a100": _gpu("A100", 85_100_000_000, 2039e9, 312e12, 600e9, 50e9, "NVIDIA A100-SXM4-80GB", 108, 167_936, 1.41, 8),
    "h100": _gpu("H100", 84_929_347_584, 3352e9, 989e12, 900e9, 100e9, "NVIDIA H100 80GB HBM3", 132, 233_472, 1.98, 9),
    "h200": _gpu("H200", 150_754_820_096, 4814e9, 989e12, 900e9, 100e9, "NVIDIA H200", 132, 233_472, 1.98, 9),
}

_TARGET = """gpu_device_info {{ threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: {shared_memory_per_core} threads_per_core_limit: 2048 core_count: {core_count}
  fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {memory_bandwidth} l2_cache_size: 52428800 clock_rate_ghz: {clock_rate_ghz}
  device_memory_size: {device_memory_size} shared_memory_per_block_optin: {shared_memory_per_block_optin}
  cuda_compute_capability {{ major: {major} }} registers_per_core_limit: 65536 registers_per_block_limit: 65536 }}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 7 }} runtime_version {{ major: 12 minor: 8 }}
device_description_str: "{name}"
"""


@dataclass(frozen=True)
class Topology:
    """So many devices of one kind. shape: of a TPU slice, () for GPUs. slices: groups without fast links between."""

    name: str
    chip: Chip
    devices: int
    slices: int = 1
    shape: tuple[int, ...] = ()

    def stand_ins(self) -> list[StandIn]:
        """As many devices that nothing can be compiled for; no compiler is needed to name them."""
        return [
            StandIn(i, self.chip.platform, self.chip.kind, i * self.slices // self.devices) for i in range(self.devices)
        ]

    def described(self) -> list[Any]:
        """JAX devices that programs can be compiled for, with none at hand. `compile_without_devices` comes first.

        Raises: InputError if the compiler is not installed, or knows no such topology.
        """
        from jax.experimental import topologies

        if self.chip.platform == "tpu":
            of, options = "tpu", {"topology_name": self.name.split("*")[-1]}
            options |= {"num_slices": self.slices} if self.slices > 1 else {}
        else:
            of = "cuda"
            options = {
                "target_config": _TARGET.format_map(self.chip.target),
                "topology": f"1x{self.slices}x{self.devices // self.slices}",
            }
        try:
            return list(topologies.get_topology_desc(platform=of, **options).devices)
        except Exception as error:  # of many kinds, all about the compiler or the name
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"topology {self.name}: its compiler gives no devices ({reason}); name a shape that "
                "exists, and install the compilers of requirements-aot.txt: make plan does"
            ) from error


def topology(name: str) -> Topology:
    """What a name such as "v5e:4x4", "2*v5e:16x16" or "h100:8" stands for. Raises: InputError."""
    found = re.fullmatch(r"(?:(\d+)\*)?(\w+):(\d+(?:x\d+)*)", name)
    if re.fullmatch(r"(v5litepod|v5e|v6e|v5p)-\d+", name):
        raise InputError(
            f"topology {name!r} is a type of accelerator; say its shape, such as v5e:4x4 for "
            "v5litepod-16, v6e:2x4 for v6e-8 or v5p:2x2x1 for v5p-8 (docs/scaling.md lists them)"
        )
    if not found or found.group(2) not in CHIPS:
        raise InputError(
            f"topology {name!r} is not one: say v5e:4x4, v5p:2x2x1, 2*v5e:16x16 or h100:8; known are {', '.join(CHIPS)}"
        )
    slices, chip = int(found.group(1) or 1), CHIPS[found.group(2)]
    shape = tuple(map(int, found.group(3).split("x")))
    if min(slices, *shape) < 1:
        raise InputError(f"topology {name!r}: sizes must be at least 1")
    if chip.platform == "tpu":
        axes = 3 if found.group(2) == "v5p" else 2
        if len(shape) != axes:
            raise InputError(
                f"topology {name!r}: a slice of {found.group(2)} has {axes} axes, as in "
                f"{found.group(2)}:{'x'.join('2' * axes)}"
            )
        if axes == 2 and (max(shape) > 16 or any(size & (size - 1) for size in shape)):
            raise InputError(f"topology {name!r}: axes of a slice of {found.group(2)} have 1, 2, 4, 8 or 16 chips")
        return Topology(name, chip, slices * math.prod(shape), slices, shape)
    if len(shape) > 1 or slices > 1:
        raise InputError(f"topology {name!r}: GPUs are counted, as in {found.group(2)}:16")
    machines = -(-shape[0] // chip.near)
    if shape[0] % machines or (machines > 1 and shape[0] % chip.near):
        raise InputError(f"topology {name!r}: more than {chip.near} GPUs are whole machines of {chip.near}")
    return Topology(name, chip, shape[0], machines)


def compile_without_devices() -> None:
    """Readies this process for compiling for devices that are not there: its own backend is the CPU.

    To be called before JAX has looked for devices. Raises: RuntimeError if it has.
    """
    from jax._src import xla_bridge  # whether backends are made already has no public name

    if xla_bridge.backends_are_initialized():
        raise RuntimeError("JAX has looked for devices already")
    jax.config.update("jax_platforms", "cpu")
    # no search for a TPU's other hosts; compilers in several processes at once; GPUs: no kernel can be tried out
    os.environ |= {
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": os.environ.get("TPU_ACCELERATOR_TYPE", "v5litepod-16"),
    }
    flags = "--xla_gpu_autotune_level=0 --xla_gpu_shard_autotuning=false"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
