"""Options of an evaluation. Imports no jax."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from emsa_jax.config.fields import Options, option
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class EvaluateOptions(Options):
    """Which clips a policy is asked about, and what is made of its answers."""

    group: ClassVar[str] = "evaluate"
    split: Literal["train", "valid", "test"] = option("test", "the split that is asked about")
    batch_size: int = option(64, "clips at a time", low=1)
    max_clips: int = option(0, "at most so many clips; 0: all", low=0)
    samples: int = option(
        4, "sampled answers to a clip for the mean reward, beside the greedy one; 0: none", low=0, high=10**4
    )
    decode: Literal["greedy", "expected", "majority", "mean"] = option(
        "greedy",
        "what metrics use: the greedy answer; the greedy answer with its expected score, each score of a grid weighted "
        "by its probability after the answer's own reasoning; the majority of the sampled answers, or their mean",
    )
    fallback: Literal["worst", "neutral", "drop"] = option(
        "worst",
        "what an answer that cannot be read counts as: worst, the score furthest from the truth; neutral, the score 0, "
        "which can look better than an honest answer; drop, nothing",
    )
    resamples: int = option(500, "resamples of the bootstrap; 0: no intervals", low=0, high=10**6)
    answers: str = option(
        "", "a directory to keep answers in, which runs may share; empty: the run's own", affects_results=True
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decode in ("majority", "mean") and not self.samples:
            raise InputError(f"decode={self.decode} needs samples; set how many")
