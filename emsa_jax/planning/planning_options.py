"""The prompt that a plan is made for. Imports no jax."""

from dataclasses import dataclass
from typing import ClassVar

from emsa_jax.config.fields import Options, option
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class PromptShape(Options):
    """The longest prompt."""

    group: ClassVar[str] = "prompt"
    tokens: int = option(1536, "of the whole prompt, video and sound included", unit="tokens", low=1, high=10**6)
    frames: int = option(8, "of the video; 0: no video", low=0, high=10**4)
    height: int = option(448, "of a frame", unit="pixels", low=0, high=10**4)
    width: int = option(448, "of a frame", unit="pixels", low=0, high=10**4)
    audio_seconds: float = option(10.0, "of sound; 0: no sound", unit="s", low=0, high=10**5)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("height", "width"):
            if self.frames and getattr(self, name) < 28:  # of one token of video
                raise InputError(f"prompt.{name} must be from 28 to 10000, not {getattr(self, name)}")
