"""Options of the policy: its adapter and its attention kernel. Imports no jax."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from emsa_jax.config.fields import Options, option, refuse_repeated
from emsa_jax.errors import InputError

Kernel = Literal["auto", "plain", "cudnn", "splash"]
EMBEDDED = ("tiny", "tiny_xemogpt")  # policies that a run makes for itself
TEXT_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class LoraOptions(Options):
    """The adapter: h = W x + (alpha / rank) B A x."""

    group: ClassVar[str] = "lora"
    rank: int = option(64, "rank of the update of each linear", low=1, high=2**16)
    alpha: float = option(
        128.0,
        "the update is multiplied by alpha / rank; less than 0.001 would leave the policy as it is",
        low=1e-3,
        high=1e6,
    )
    targets: tuple[str, ...] = option(
        TEXT_LINEARS,
        "linears with an adapter: one of the text layers, or audio.NAME or vision.NAME of the towers and projectors",
    )
    also: tuple[str, ...] = option(
        (),
        "parts of the policy that are trained whole beside the adapter, by their place in the table of parameters: "
        "audio.proj, vision.merger_out, vision.merger_norm ...",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.targets:
            raise InputError("lora.targets: name at least one linear")
        refuse_repeated("lora.targets", (target.removeprefix("text.") for target in self.targets))
        refuse_repeated("lora.also", self.also)
