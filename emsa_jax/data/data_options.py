"""Options of the data: how it is read, mixed, prepared and made. Imports no jax."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from emsa_jax.config.fields import Options, option
from emsa_jax.errors import InputError

MODALITIES = ("text", "audio", "video")
FPS_FRAMES = (4, 768)  # fewest and most frames of a video where they are taken at a rate (Qwen2.5-Omni)
MIN_PIXELS = 56 * 56  # fewest of a frame (Qwen2.5-Omni)
JPEG_QUALITY = 95


@dataclass(frozen=True)
class ReadingOptions(Options):
    """How the samples of a source are read."""

    group: ClassVar[str] = "read"
    root: str = option(
        "",
        "the directory that holds all media: a row that names a file outside of it, by .. or a link too, is refused; "
        "empty: media may lie anywhere",
        affects_results=False,
    )
    unlabelled: bool = option(False, "read the parts that carry no label too, into train")
    split: Literal["train", "valid", "test"] = option("train", "the split of samples whose source states none")
    valid_share: float = option(
        0.0,
        "share of train that becomes valid where a source has no valid part, chosen by the hashes of the ids",
        low=0,
        high=1,
    )


LABELLED_ALONE = ReadingOptions()


@dataclass(frozen=True)
class MixOptions(Options):
    """Other sets to train on beside `data`."""

    group: ClassVar[str] = "mix"
    data: tuple[str, ...] = option((), "directories of records to train on beside config.data")
    weights: tuple[float, ...] = option(
        (), "shares of the clips, those of config.data first; (): shares in proportion to size", low=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights and len(self.weights) != 1 + len(self.data):
            raise InputError(
                f"mix.weights: {len(self.weights)} weights for {1 + len(self.data)} sets; the first is "
                "that of config.data itself"
            )
        if self.weights and not any(self.weights):
            raise InputError("mix.weights: all of them are 0, so that no clip would be drawn; raise one")


@dataclass(frozen=True)
class PrepareOptions(Options):
    """How clips become records, and when they do not."""

    group: ClassVar[str] = "prepare"
    num_frames: int = option(
        16,
        "frames taken of a video at equal distances; fewer where it has fewer",
        low=1,
        high=10**4,
        source="XEmoGPT, section 4.1",
    )
    fps: float = option(
        0.0,
        "frames a second in place of num_frames, from 4 to 768 of a video; 0: num_frames counts",
        unit="1/s",
        low=0,
        high=1e4,
        source="Qwen2.5-Omni's rule",
    )
    max_pixels: int = option(
        128 * 28 * 28,
        "most pixels of a frame, height x width; larger ones are scaled down",
        unit="pixels",
        low=MIN_PIXELS,
        high=2**30,
    )
    frame_format: Literal["jpeg", "raw"] = option("jpeg", "how frames are kept: JPEG at quality 95, or raw pixels")
    workers: int = option(0, "processes that decode; 0: one per CPU", low=0, high=1024, affects_results=False)
    max_seconds: float = option(300.0, "longer clips are quarantined", unit="s", above=0)
    max_bad_share: float = option(
        0.5, "share of the clips with video or sound that may be missing or broken; more are an error", low=0, high=1
    )


@dataclass(frozen=True)
class PuppetOptions(Options):
    """The embedded world: its sizes, and what is wrong in it."""

    group: ClassVar[str] = "puppets"
    num_train: int = option(1024, "clips of train", low=1, high=10**7)
    num_valid: int = option(128, "clips of valid", low=1, high=10**7)
    num_test: int = option(256, "clips of test", low=1, high=10**7)
    sarcasm: float = option(0.3, "share of clips whose words contradict the truth", low=0, high=1)
    noise: float = option(
        0.06,
        "share of clips whose face and voice are both off the truth (half of them one notch, half of them neutral), so "
        "that no classifier can be perfect",
        low=0,
        high=1,
    )
    teacher_error: float = option(0.08, "how often the teacher is wrong elsewhere", low=0, high=1)
    resolved: float = option(
        0.0,
        "share of contradicting clips about which the teacher is never fooled: its trace names the contradiction and "
        "resolves it",
        low=0,
        high=1,
    )
    trace_share: float = option(0.12, "share of train clips that the teacher is asked about", low=0, high=1)
