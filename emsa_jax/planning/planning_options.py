"""The prompt that a plan is made for. Imports no jax."""

from dataclasses import dataclass

from emsa_jax.errors import InputError


@dataclass(frozen=True)
class PromptShape:
    """The longest prompt: tokens, of them those of `frames` frames of height x width pixels and of so many seconds of
    sound."""

    tokens: int = 1536
    frames: int = 8
    height: int = 448
    width: int = 448
    audio_seconds: float = 10.0

    def __post_init__(self) -> None:
        side = 28 if self.frames else 0  # of one token of video
        for name, least, most in (
            ("tokens", 1, 10**6),
            ("frames", 0, 10**4),
            ("height", side, 10**4),
            ("width", side, 10**4),
            ("audio_seconds", 0, 10**5),
        ):
            if not least <= getattr(self, name) <= most:
                raise InputError(f"prompt.{name} must be from {least} to {most}, not {getattr(self, name)}")
