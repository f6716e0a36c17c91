"""What a reader yields: one labelled utterance, its media still on disk."""

from dataclasses import dataclass, field

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Sample:
    """One utterance. `video`, `audio`: absolute paths or ""; without `audio` the video's own sound counts."""

    id: str
    text: str
    score: float | None  # None: none is known (unlabelled, or a data set with classes only)
    split: str  # one of SPLITS
    video: str = ""
    audio: str = ""
    language: str = "en"  # "en" | "zh"
    start: float = 0.0  # seconds within the file: the clip is [start, end)
    end: float | None = None  # None: to the file's end
    label: str = ""  # the class as the data set names it ("happy", "surprise"); "" if none
    concepts: tuple[tuple[str, str], ...] = ()  # (name, value): ("tone", "sarcastic"), ("scenario", "vlogs"), ...
    speaker: str = ""
    reasoning: str = ""  # a written explanation that came with the data: a trace, a caption
    guesses: tuple[str, ...] = field(default=(), compare=False)  # how its row was read where it was not plain
