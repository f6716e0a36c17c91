"""Think, then answer: the parts of a DC answer with the reasoning first, as plain chains of thought have it.

    <think>...</think>
    <polarity>Positive</polarity>
    <score>0.6</score>

Read by the rules of `answers.dc`. An answer cannot begin with its polarity, so there is nothing to hint at.
"""

from dataclasses import dataclass
from typing import ClassVar

from emsa_jax.answers.dc import DC
from emsa_jax.answers.labels import POLARITIES
from emsa_jax.answers.scores import write_score
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class ThinkFirst(DC):
    """The format for scores within `score_range`."""

    name: ClassVar[str] = "think_first"
    levels: ClassVar[tuple[str, ...]] = ()
    order: ClassVar[tuple[str, ...]] = ("think", "polarity", "score")

    def write(self, polarity: str, think: str, score: float) -> str:
        """The answer as text. InputError if it could not be read back, as for DC."""
        verdict = f"<polarity>{polarity}</polarity>\n<score>{write_score(score)}</score>"
        text = f"<think>{think.strip()}</think>\n{verdict}"
        parsed = self.parse(text)
        if not parsed.well_formed:
            raise InputError(f"this answer cannot be written: {'; '.join(parsed.notes)}")
        return text

    def hint(self, polarity: str) -> str:
        """Empty: what comes first is the reasoning."""
        if polarity not in POLARITIES:
            raise InputError(f"polarity must be one of {', '.join(POLARITIES)}, not {polarity!r}")
        return ""

    def instruction(self, language: str, has_video: bool, has_audio: bool, has_text: bool) -> str:
        """As for DC, the lines of the form in this order."""
        ask, polarity, think, score = super().instruction(language, has_video, has_audio, has_text).split("\n")
        return "\n".join((ask, think, polarity, score))
