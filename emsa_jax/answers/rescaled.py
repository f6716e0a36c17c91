"""A format that asks and reads in one score range and means another.

A policy that was taught scores in [-3, 3] can be judged on data labelled in [-1, 1]: it is asked as it was taught,
and what it answers is carried over, each side of zero in proportion, so that signs and zero stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from emsa_jax.answers.dc import Parsed


@dataclass(frozen=True)
class Rescaled:
    """format: as the policy was taught it. score_range: of the data."""

    format: object  # answers.dc.DC or another of answers.formats
    score_range: tuple[float, float]

    @property
    def name(self) -> str:
        """The inner format's."""
        return self.format.name

    def write(self, polarity: str, think: str, score: float) -> str:
        """An answer in the taught range to a score in the data's."""
        return self.format.write(polarity, think, carry(score, self.score_range, self.format.score_range))

    def parse(self, text: str) -> Parsed:
        """Reads an answer in the taught range; the score is in the data's."""
        parsed = self.format.parse(text)
        if parsed.score is None:
            return parsed
        return replace(parsed, score=carry(parsed.score, self.format.score_range, self.score_range))

    def hint(self, polarity: str) -> str:
        """The inner format's."""
        return self.format.hint(polarity)

    def instruction(self, language: str, has_video: bool, has_audio: bool, has_text: bool) -> str:
        """The inner format's: its range is the one asked for."""
        return self.format.instruction(language, has_video, has_audio, has_text)


def carry(score: float, source: tuple[float, float], target: tuple[float, float]) -> float:
    """A score of one range in another: each side of zero in proportion."""
    side = score > 0
    return score / source[side] * target[side] if source[side] else 0.0
