"""Label-only answers: one score and nothing else, as zero-shot and label-only fine-tuning write them."""

from dataclasses import dataclass
from typing import ClassVar

from emsa_jax.answers.clues import clues, task
from emsa_jax.answers.dc import Parsed
from emsa_jax.answers.labels import POLARITIES, polarity_of
from emsa_jax.answers.scores import read_score, write_score
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class LabelOnly:
    """The format for scores within `score_range`; the polarity is the score's own."""

    score_range: tuple[float, float] = (-1.0, 1.0)
    neutral_eps: float = 0.0
    name: ClassVar[str] = "label_only"
    levels: ClassVar[tuple[str, ...]] = ()

    def write(self, polarity: str, think: str, score: float) -> str:
        """The score as text; polarity and reasoning are left out. InputError outside the range."""
        text = write_score(score)
        if read_score(text, self.score_range)[0] is None:
            raise InputError(f"score {score} is outside {list(self.score_range)}")
        return text

    def parse(self, text: str) -> Parsed:
        """A plain decimal with white space around it, or nothing. Never raises; linear time."""
        score, why = read_score(text, self.score_range)
        if score is None:
            return Parsed(None, None, None, False, (why,))
        return Parsed(polarity_of(score, self.neutral_eps), None, score, True)

    def hint(self, polarity: str) -> str:
        """Empty: a bare score has no place for a hint."""
        if polarity not in POLARITIES:
            raise InputError(f"polarity must be one of {', '.join(POLARITIES)}, not {polarity!r}")
        return ""

    def instruction(self, language: str, has_video: bool, has_audio: bool, has_text: bool) -> str:
        """What to do and in which form, naming only the modalities that are there."""
        start = task(language, clues(language, has_video, has_audio, has_text))
        low, high = self.score_range
        if language == "zh":
            return f"{start}，只回答一个{low:g}到{high:g}之间的数。"
        return f"{start}. Reply with one number from {low:g} to {high:g}."
