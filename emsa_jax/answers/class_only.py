"""A class of sentiment and nothing else, as zero-shot and label-only fine-tuning write it (CH-CEMS, listing 3)."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

from emsa_jax.answers.answer_format import Answer
from emsa_jax.answers.class_format import ClassFormat
from emsa_jax.answers.labels import polarity_of_sentiment
from emsa_jax.answers.messages import task


@dataclass(frozen=True)
class ClassOnly(ClassFormat):
    """The format for 3 or 5 classes of scores within `score_range`. Answers do not name the concepts of the table."""

    name: ClassVar[str] = "class_only"
    has_reasoning: ClassVar[bool] = False

    def write(self, polarity: str, think: str, score: float) -> str:
        """The score's class; polarity and reasoning are left out."""
        return self.sentiment_of(score)

    def parse(self, text: str) -> Answer:
        """A class, in either language, with white space around it, or nothing. Never raises; linear time."""
        sentiment = self.sentiments.read(text)
        if sentiment is None:
            return Answer(notes=("the answer is not one of " + ", ".join(self.sentiments.known),))
        return Answer(polarity=polarity_of_sentiment(sentiment), sentiment=sentiment)

    def ask(self, modalities: Collection[str], language: str) -> str:
        """What to do, and the classes."""
        classes = self.sentiments.spelled(language)
        if language == "zh":
            return f"{task(modalities, language)}，只从中选一个回答：{'、'.join(classes)}。"
        return f"{task(modalities, language)}. Reply with one of: {', '.join(classes)}."

    def tokenizer_text(self, polarity: str, think: str, score: float) -> str:
        """There is none: answers hold no reasoning."""
        return ""
