"""Label-only answers: one score and nothing else, as zero-shot and label-only fine-tuning write them."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

from emsa_jax.answers.answer_format import Answer
from emsa_jax.answers.labels import polarity_of
from emsa_jax.answers.messages import task
from emsa_jax.answers.score_format import ScoreFormat
from emsa_jax.answers.scores import read_score
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class LabelOnly(ScoreFormat):
    """The format for scores within `score_range`; the polarity is that of the score."""

    name: ClassVar[str] = "label_only"
    has_reasoning: ClassVar[bool] = False

    def write(self, polarity: str, think: str, score: float) -> str:
        """The score as text; polarity and reasoning are left out. Raises InputError outside the range."""
        text = self.write_score(score)
        if self.read_score(text)[0] is None:
            raise InputError(f"score {score} is outside {list(self.score_range)}")
        return text

    def parse(self, text: str) -> Answer:
        """A plain decimal with white space around it, or nothing. Never raises; linear time."""
        score, why = self.read_score(text)
        if score is None:
            return Answer(notes=(why,))
        written, _ = read_score(text, self.written_range)  # whose polarity counts, before it is carried over
        return Answer(polarity=polarity_of(written, self.neutral_eps), score=score)

    def score_part(self, text: str) -> str:
        """The score is all that an answer has."""
        return text

    def before_score(self, text: str) -> str:
        """Nothing."""
        return ""

    def with_score(self, answer: Answer, score: float) -> Answer:
        """The answer with another score, and the polarity of the nearest one of the grid."""
        _, text = min(self.score_ends(), key=lambda end: abs(end[0] - score))
        polarity = polarity_of(read_score(text, self.written_range)[0], self.neutral_eps)
        return replace(answer, score=score, polarity=polarity)

    def ask(self, modalities: Collection[str], language: str) -> str:
        """What to do, and the range of scores."""
        low, high = self.written_range
        if language == "zh":
            return f"{task(modalities, language)}，只回答一个{low:g}到{high:g}之间的数。"
        return f"{task(modalities, language)}. Reply with one number from {low:g} to {high:g}."

    def tokenizer_text(self, polarity: str, think: str, score: float) -> str:
        """There is none: answers hold no words."""
        return ""
