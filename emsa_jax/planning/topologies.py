"""Accelerators by name: what their data sheets say, and devices to compile for where this machine has none.

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
from jax.experimental import topologies

from emsa_jax.errors import InputError
from emsa_jax.parallel.jax_internals import backends_exist
from emsa_jax.parallel.mesh import StandIn
from emsa_jax.runtime.hardware import PEAK_FLOPS

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One device.

    Attributes:
      kind: part of its name in JAX, a key of `hardware.PEAK_FLOPS`.
      memory: bytes that programs may use: for a TPU as its compiler has it; for a GPU 92% of all, as launch/env.gpu
        sets it.
      bandwidth: of its memory, bytes a second.
      link: bytes a second that it exchanges with its neighbours along one axis of the mesh, both ways together.
      outer_link: the same between slices, or between machines.
      machine_size: GPUs of a machine; 0 for a TPU, whose slice has fast links throughout.
      target: what XLA wants to know of a GPU (message GpuTargetConfigProto), beside what all have in common.
    """

    kind: str
    memory: int
    bandwidth: float
    link: float
    outer_link: float
    machine_size: int = 0
    target: Mapping[str, Any] | None = None

    @property
    def platform(self) -> str:
        """The platform as JAX names it: "tpu" or "gpu"."""
        return "gpu" if self.target else "tpu"

    @property
    def flops(self) -> float:
        """Dense bfloat16 FLOPs a second."""
        return PEAK_FLOPS[self.kind]


def _gpu(*, kind: str, total: int, bandwidth: float, link: float, outer_link: float, target: Mapping[str, Any]) -> Chip:
    """A GPU of a machine of 8. total: bytes of its memory. target: what is particular to its `Chip.target`."""
    sizes = {"memory_bandwidth": int(bandwidth), "device_memory_size": total}
    return Chip(
        kind=kind,
        memory=int(0.92 * total),
        bandwidth=bandwidth,
        link=link,
        outer_link=outer_link,
        machine_size=8,
        target=sizes | {"shared_memory_per_block_optin": target["shared_memory_per_core"] - 1024} | target,
    )


_A100 = {"core_count": 108, "shared_memory_per_core": 167_936, "clock_rate_ghz": 1.41, "major": 8, "minor": 0}
_HOPPER = {"core_count": 132, "shared_memory_per_core": 233_472, "clock_rate_ghz": 1.98, "major": 9, "minor": 0}
_ADA = {"shared_memory_per_core": 102_400, "clock_rate_ghz": 2.52, "major": 8, "minor": 9}

# Data sheets of the vendors; links of TPUs: jax-ml.github.io/scaling-book, chapter 2.
CHIPS = {
    "v5e": Chip(kind="TPU v5 lite", memory=int(15.75 * GIB), bandwidth=819e9, link=90e9, outer_link=3.1e9),
    "v6e": Chip(kind="TPU v6 lite", memory=int(31.25 * GIB), bandwidth=1640e9, link=180e9, outer_link=12.5e9),
    "v5p": Chip(kind="TPU v5", memory=int(95.74 * GIB), bandwidth=2765e9, link=180e9, outer_link=6.2e9),
    "a100": _gpu(
        kind="A100",
        total=85_100_000_000,
        bandwidth=2039e9,
        link=600e9,
        outer_link=50e9,
        target=_A100 | {"name": "NVIDIA A100-SXM4-80GB"},
    ),
    "h100": _gpu(
        kind="H100",
        total=84_929_347_584,
        bandwidth=3352e9,
        link=900e9,
        outer_link=100e9,
        target=_HOPPER | {"name": "NVIDIA H100 80GB HBM3"},
    ),
    "h200": _gpu(
        kind="H200",
        total=150_754_820_096,
        bandwidth=4814e9,
        link=900e9,
        outer_link=100e9,
        target=_HOPPER | {"name": "NVIDIA H200"},
    ),
    "rtx4090": _gpu(  # 24 GB; without NVLink, here as below: PCIe 4.0 x 16
        kind="RTX 4090",
        total=25_757_220_864,
        bandwidth=1008e9,
        link=64e9,
        outer_link=25e9,
        target=_ADA | {"core_count": 128, "name": "NVIDIA GeForce RTX 4090"},
    ),
    "l40s": _gpu(  # 48 GB
        kind="L40S",
        total=48_305_799_168,
        bandwidth=864e9,
        link=64e9,
        outer_link=25e9,
        target=_ADA | {"core_count": 142, "name": "NVIDIA L40S"},
    ),
}

_TARGET = """gpu_device_info {{ threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: {shared_memory_per_core} threads_per_core_limit: 2048 core_count: {core_count}
  fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {memory_bandwidth} l2_cache_size: 52428800 clock_rate_ghz: {clock_rate_ghz}
  device_memory_size: {device_memory_size} shared_memory_per_block_optin: {shared_memory_per_block_optin}
  cuda_compute_capability {{ major: {major} minor: {minor} }} registers_per_core_limit: 65536
  registers_per_block_limit: 65536 }}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 7 }} runtime_version {{ major: 12 minor: 8 }}
device_description_str: "{name}"
"""


@dataclass(frozen=True)
class Topology:
    """Devices of one kind.

    Attributes:
      slices: groups of devices without fast links between them.
      shape: of a TPU slice, () for GPUs.
    """

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
        """JAX devices that programs can be compiled for, although this machine has none of them.

        The process must have been prepared by `compile_without_devices`.

        Raises:
          InputError: the compiler is not installed, or it knows no such topology.
        """
        if self.chip.platform == "tpu":
            platform, options = "tpu", {"topology_name": self.name.split("*")[-1]}
            options |= {"num_slices": self.slices} if self.slices > 1 else {}
        else:
            platform = "cuda"
            options = {
                "target_config": _TARGET.format_map(self.chip.target),
                "topology": f"1x{self.slices}x{self.devices // self.slices}",
            }
        try:
            return list(topologies.get_topology_desc(platform=platform, **options).devices)
        except Exception as error:  # errors of many kinds, all about the compiler or the name
            reason = str(error).strip().split("\n")[0]
            raise InputError(
                f"topology {self.name}: its compiler gives no devices ({reason}); name a shape that "
                "exists, and install the compilers of requirements-aot.txt: make plan does"
            ) from error


def topology(name: str) -> Topology:
    """The topology of a name such as "v5e:4x4", "2*v5e:16x16" or "h100:8".

    Raises:
      InputError: there is no such topology.
    """
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
    slices, kind = int(found.group(1) or 1), found.group(2)
    shape = tuple(map(int, found.group(3).split("x")))
    if min(slices, *shape) < 1:
        raise InputError(f"topology {name!r}: sizes must be at least 1")
    if CHIPS[kind].platform == "tpu":
        return _tpu_topology(name, kind, slices, shape)
    return _gpu_topology(name, kind, slices, shape)


def _tpu_topology(name: str, kind: str, slices: int, shape: tuple[int, ...]) -> Topology:
    axes = 3 if kind == "v5p" else 2
    if len(shape) != axes:
        raise InputError(f"topology {name!r}: a slice of {kind} has {axes} axes, as in {kind}:{'x'.join('2' * axes)}")
    if axes == 2 and (max(shape) > 16 or any(size & (size - 1) for size in shape)):
        raise InputError(f"topology {name!r}: axes of a slice of {kind} have 1, 2, 4, 8 or 16 chips")
    return Topology(name, CHIPS[kind], slices * math.prod(shape), slices, shape)


def _gpu_topology(name: str, kind: str, slices: int, shape: tuple[int, ...]) -> Topology:
    chip = CHIPS[kind]
    if len(shape) > 1 or slices > 1:
        raise InputError(f"topology {name!r}: GPUs are counted, as in {kind}:16")
    machines = -(-shape[0] // chip.machine_size)
    if shape[0] % machines or (machines > 1 and shape[0] % chip.machine_size):
        raise InputError(
            f"topology {name!r}: more than {chip.machine_size} GPUs are whole machines of {chip.machine_size}"
        )
    return Topology(name, chip, shape[0], machines)


def compile_without_devices() -> None:
    """Prepares this process for compiling for devices that this machine does not have; its own backend is the CPU.

    It has to be called before JAX looks for devices.

    Raises:
      RuntimeError: JAX has looked for devices already.
    """
    if backends_exist():
        raise RuntimeError("JAX has looked for devices already")
    jax.config.update("jax_platforms", "cpu")
    # The TPU's compiler does not search for other hosts, and several processes may compile at once. The GPU's compiler
    # cannot try its kernels out.
    os.environ |= {
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": os.environ.get("TPU_ACCELERATOR_TYPE", "v5litepod-16"),
    }
    flags = "--xla_gpu_autotune_level=0 --xla_gpu_shard_autotuning=false"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
