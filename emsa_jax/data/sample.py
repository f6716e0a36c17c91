"""What a reader yields: one labelled utterance, its media still on disk."""

from dataclasses import dataclass

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Sample:
    """One utterance. `video`, `audio`: absolute paths or ""; without `audio` the video's own sound counts."""

    id: str
    text: str
    score: float | None  # None: unlabelled, legal in the test split only
    split: str  # one of SPLITS
    video: str = ""
    audio: str = ""
    language: str = "en"  # "en" | "zh"
