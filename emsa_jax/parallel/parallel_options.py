"""How devices and processes divide the work. Imports no jax."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from emsa_jax.config.fields import Options, option

AXES = ("data", "fsdp", "tensor")


@dataclass(frozen=True)
class MeshOptions(Options):
    """How devices divide the work."""

    group: ClassVar[str] = "mesh"
    preset: Literal["auto", "v5e-16", "v5p-8", "v5p-64", "h100-1", "h100-8", "h200-1", "h200-8"] = option(
        "auto",
        "sizes of the axes by name; auto chooses by device, memory and policy and says why",
        source="docs/scaling.md",
        affects_results=False,
    )
    data: int = option(
        0,
        "devices that divide the batch; 0: as the preset has it, or, where another axis is given, all that are left",
        low=0,
        affects_results=False,
    )
    fsdp: int = option(
        0,
        "devices that divide batch and weights; 0: as the preset has it, or 1 where another axis is given",
        low=0,
        affects_results=False,
    )
    tensor: int = option(
        0,
        "devices that divide heads, MLP and vocabulary; 0: as the preset has it, or 1 where another axis is given",
        low=0,
        affects_results=False,
    )
