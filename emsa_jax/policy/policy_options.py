"""What can be said of the policy: its adapter, its attention kernel, its export. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.errors import InputError

Kernel = Literal["auto", "plain", "cudnn", "splash"]

TEXT_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class LoraOptions:
    """Which linears get an adapter. A target is a text linear, or "audio.NAME" / "vision.NAME" for the towers'."""

    rank: int = 64
    alpha: float = 128.0
    targets: tuple[str, ...] = TEXT_LINEARS

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0:
            raise InputError(f"lora.rank and lora.alpha must be positive, not {self.rank} and {self.alpha}")
        if not self.targets:
            raise InputError("lora.targets: name at least one linear")


@dataclass(frozen=True)
class ExportOptions:
    """merged: one Hugging Face directory with the adapter added in. adapter: the base and a PEFT adapter beside it."""

    merged: bool = True
    adapter: bool = True
    shard_bytes: int = 5 * 10**9

    def __post_init__(self) -> None:
        if self.shard_bytes < 1:
            raise InputError(f"shard_bytes must be at least 1, not {self.shard_bytes}")
