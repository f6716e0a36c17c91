"""How devices and processes divide the work. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.errors import InputError

AXES = ("data", "fsdp", "tensor")


@dataclass(frozen=True)
class MeshOptions:
    """Sizes of the mesh's axes. preset: "auto" chooses by device, memory and policy and says why. data, fsdp, tensor:
    0 as the preset has it; where one is given, the others are 1, and `data` takes all devices that are left.
    slices: groups that divide `data`; 0: as the devices say. timeout: seconds that processes wait for each other at the
    start."""

    preset: Literal["auto", "v5e-16", "v5p-8", "v5p-64", "h100-1", "h100-8", "h200-1", "h200-8"] = "auto"
    data: int = 0
    fsdp: int = 0
    tensor: int = 0
    slices: int = 0
    timeout: int = 300

    def __post_init__(self) -> None:
        for name in (*AXES, "slices"):
            if getattr(self, name) < 0:
                raise InputError(f"mesh.{name} must be at least 0, not {getattr(self, name)}")
        if not 1 <= self.timeout <= 86_400:
            raise InputError(f"mesh.timeout must be between a second and a day, 86400, not {self.timeout}")
