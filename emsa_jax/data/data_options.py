"""What can be said of the data: which set, how it is read, mixed, prepared and shown. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.data.facts import FACTS
from emsa_jax.errors import InputError

MODALITIES = ("text", "audio", "video")


@dataclass(frozen=True)
class Dataset:
    """A data set: an MMSA directory, a csv of paths and labels, a directory of records, or a puppet domain
    ("puppets:en", "puppets:zh"; annotated as CH-CEMS is: "puppets:concepts_en", "puppets:concepts_zh"); "" for none.
    reader: a name of docs/data_sets.md, "" to go by the layout. score_range, language: (), "" for the set's own.
    asked_as: in its own language and score range, or in those of the training set, scores carried over into its
    own."""

    data: str = ""
    score_range: tuple[float, ...] = ()
    language: str = ""
    asked_as: Literal["own", "train"] = "own"
    reader: str = ""

    def __post_init__(self) -> None:
        if self.score_range and not (len(self.score_range) == 2 and self.score_range[0] < self.score_range[1]):
            raise InputError(f"score_range must be two numbers that rise, not {self.score_range}")
        if self.reader and self.reader not in FACTS:
            raise InputError(f"dataset {self.reader!r} is none of {', '.join(FACTS)}")


@dataclass(frozen=True)
class ReadingOptions:
    """unlabelled: read the parts of a data set that carry no label too, into train. split: of samples whose source
    states none. valid_share: of a source without a valid part, the share of train to become it, by the ids' hashes."""

    unlabelled: bool = False
    split: Literal["train", "valid", "test"] = "train"
    valid_share: float = 0.0


@dataclass(frozen=True)
class MixOptions:
    """Other sets to train on beside `data`. data: directories of records. weights: shares of the clips, `data`'s own
    first; () for shares in proportion to size."""

    data: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != 1 + len(self.data):
            raise InputError(
                f"mix.weights: {len(self.weights)} weights for {1 + len(self.data)} sets; the first is "
                "that of config.data itself"
            )


@dataclass(frozen=True)
class PrepareOptions:
    """How clips become records, and when they do not.

    frames: "uniform" for num_frames of each video (fewer where it has fewer), "fps" for fps a second, at least
    min_frames and at most max_frames, by Qwen's rule. min_pixels, max_pixels: bounds of height x width of a frame.
    frame_format: "jpeg" or "raw". jpeg_quality: 1 to 100. shard_bytes: a shard is closed when it has grown beyond
    this. workers: decoding processes, 0 for one per CPU. max_seconds: longer clips are quarantined. timeout_seconds:
    so is a clip whose decoding takes longer. max_bad_share: of the clips with video or
    sound; more missing or broken ones are an error.
    """

    frames: str = "uniform"
    num_frames: int = 16
    fps: float = 2.0
    min_frames: int = 4
    max_frames: int = 768
    min_pixels: int = 3136
    max_pixels: int = 128 * 28 * 28
    frame_format: str = "jpeg"
    jpeg_quality: int = 95
    shard_bytes: int = 256 * 2**20
    workers: int = 0
    max_seconds: float = 300.0
    timeout_seconds: float = 600.0
    max_bad_share: float = 0.5

    def __post_init__(self):
        if self.frames not in ("uniform", "fps"):
            raise InputError(f"frames is {self.frames!r}; it must be 'uniform' or 'fps'")
        if not 2 <= self.min_frames <= self.max_frames:
            raise InputError(
                f"min_frames {self.min_frames} and max_frames {self.max_frames} must satisfy "
                "2 <= min_frames <= max_frames"
            )
        if self.frame_format not in ("jpeg", "raw"):
            raise InputError(f"frame_format is {self.frame_format!r}; it must be 'jpeg' or 'raw'")
        if not 1 <= self.jpeg_quality <= 100:
            raise InputError(f"jpeg_quality is {self.jpeg_quality}; it must lie in 1..100")
        if not 28 * 28 <= self.min_pixels <= self.max_pixels:
            raise InputError(
                f"min_pixels {self.min_pixels} and max_pixels {self.max_pixels} must satisfy "
                "784 <= min_pixels <= max_pixels"
            )
        if not 0 <= self.max_bad_share <= 1:
            raise InputError(f"max_bad_share is {self.max_bad_share}; it must lie in 0..1")
        for name in ("num_frames", "fps", "shard_bytes", "max_seconds", "timeout_seconds"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must be positive")
        if self.workers < 0:
            raise InputError(f"workers is {self.workers}; it must be 0 (one per CPU) or more")


@dataclass(frozen=True)
class ViewOptions:
    """keep: the modalities that are shown at all. drop_*: how often each of them is left out at random."""

    keep: tuple[str, ...] = MODALITIES
    drop_text: float = 0.0
    drop_audio: float = 0.0
    drop_video: float = 0.0

    def __post_init__(self):
        if not self.keep or not set(self.keep) <= set(MODALITIES):
            raise InputError(f"keep is {list(self.keep)}; it must name some of {', '.join(MODALITIES)}")
        for name in MODALITIES:
            if not 0 <= getattr(self, f"drop_{name}") <= 1:
                raise InputError(f"drop_{name} is {getattr(self, f'drop_{name}')}; it must lie in 0..1")


@dataclass(frozen=True)
class Puppets:
    """The embedded world's sizes; the rest as data.puppets.PuppetOptions has it."""

    num_train: int = 1024
    num_valid: int = 128
    num_test: int = 256
    sarcasm: float = 0.3
    noise: float = 0.06
    fooled: float = 0.9
    teacher_error: float = 0.08
    trace_share: float = 0.12
