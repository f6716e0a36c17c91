"""A class of sentiment and nothing else, as zero-shot and label-only fine-tuning write it (CH-CEMS, listing 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from emsa_jax.answers.clues import clues, task
from emsa_jax.answers.concept_reader import ParsedConcepts
from emsa_jax.answers.concept_table import CH_CEMS, SENTIMENT_LABELS, Concept, Labels
from emsa_jax.answers.concepts import Concepts, Truth
from emsa_jax.answers.labels import polarity_of_sentiment, sentiment_of
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class ClassOnly:
    """The format for 3 or 5 classes of scores within `score_range`. table: of the concepts that clips are known to
    have, which these answers do not name."""

    classes: int = 3
    table: tuple[Concept, ...] = CH_CEMS
    score_range: tuple[float, float] = (-1.0, 1.0)
    name: ClassVar[str] = "class_only"
    levels: ClassVar[tuple[str, ...]] = ()

    @property
    def sentiments(self) -> Labels:
        """The classes of sentiment, from the most negative."""
        return SENTIMENT_LABELS[self.classes]

    def truth(self, score: float, concepts: Sequence[tuple[str, str]], language: str = "en") -> Truth:
        """As `Concepts.truth`."""
        return Concepts(self.classes, self.table, self.score_range).truth(score, concepts, language)

    def write(self, polarity: str, think: str, score: float) -> str:
        """The score's class; polarity and reasoning are left out."""
        return sentiment_of(score, self.classes, self.score_range)

    def parse(self, text: str) -> ParsedConcepts:
        """A class, in either language, with white space around it, or nothing. Never raises; linear time."""
        sentiment = self.sentiments.read(text)
        if sentiment is None:
            note = "the answer is not one of " + ", ".join(self.sentiments.known)
            return ParsedConcepts(None, None, None, False, (note,))
        return ParsedConcepts(polarity_of_sentiment(sentiment), None, None, True, (), sentiment)

    def hint(self, truth: Truth, level: str = "") -> str:
        """There is none: a bare label has no place for a hint."""
        raise InputError("hint.mode: this answer format has nothing to hint at; use hint.mode=off")

    def instruction(self, language: str, has_video: bool, has_audio: bool, has_text: bool) -> str:
        """What to do, naming only the modalities that are there."""
        start = task(language, clues(language, has_video, has_audio, has_text))
        if language == "zh":
            return f"{start}，只从中选一个回答：{'、'.join(self.sentiments.shown(language))}。"
        return f"{start}. Reply with one of: {', '.join(self.sentiments.shown(language))}."
