"""What can be said of an evaluation. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.errors import InputError


@dataclass(frozen=True)
class EvaluateOptions:
    """split: which clips. batch_size: clips at a time. max_clips: at most so many (0: all). samples: sampled answers
    a clip for the mean reward, beside the greedy one (0: none). decode: what the metrics use: the greedy answer, the
    majority of the sampled ones, or their mean. resamples: of the bootstrap (0: no intervals).
    answers: a directory to keep answers in, which runs may share (default: the run's own)."""

    split: Literal["train", "valid", "test"] = "test"
    batch_size: int = 64
    max_clips: int = 0
    samples: int = 4
    decode: Literal["greedy", "majority", "mean"] = "greedy"
    fallback: Literal["neutral", "drop", "worst"] = "neutral"
    resamples: int = 500
    answers: str = ""

    def __post_init__(self) -> None:
        for name, lowest in (("batch_size", 1), ("max_clips", 0), ("samples", 0), ("resamples", 0)):
            if getattr(self, name) < lowest:
                raise InputError(f"{name} must be at least {lowest}, not {getattr(self, name)}")
        if self.decode != "greedy" and not self.samples:
            raise InputError(f"decode={self.decode} needs samples; set how many")
