"""What formats have in common whose answers name a score.

Such a format may ask and read in one score range and mean another: a policy that was taught scores in [-3, 3] can be
tested on data labelled in [-1, 1]. It is asked as it was taught, and what it answers is carried over.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from emsa_jax.answers.answer_format import Answer, Labelled, Truth, refuse_level
from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.claim_truth import agreement_error, true_signs
from emsa_jax.answers.concept_table import Concept
from emsa_jax.answers.labels import POLARITIES, polarity_of
from emsa_jax.answers.scores import carry, read_score, score_grid, write_score
from emsa_jax.answers.tags import scan
from emsa_jax.errors import InputError

POLARITY_REPEATED = "polarity is repeated"  # a note of an answer


@dataclass(frozen=True)
class ScoreFormat:
    """score_range: of the data. neutral_eps: scores within it of 0 are Neutral. asked_range: in which scores are asked
    for and written; None for that of the data."""

    score_range: tuple[float, float] = (-1.0, 1.0)
    neutral_eps: float = 0.0
    asked_range: tuple[float, float] | None = None
    levels: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[tuple[str, ...]] = ("format", "polarity", "score")
    label_part: ClassVar[str] = "polarity"
    label_first: ClassVar[bool] = False
    has_reasoning: ClassVar[bool] = True
    papers: ClassVar[tuple[str, ...]] = ()
    classes: ClassVar[int] = 0
    marked: ClassVar[tuple[Concept, ...]] = ()

    @classmethod
    def of(cls, score_range: tuple[float, float], neutral_eps: float, concepts: ConceptOptions) -> Self:
        """As `AnswerFormat.of`; these formats know no concepts."""
        return cls(score_range, neutral_eps)

    def for_range(self, score_range: tuple[float, float]) -> Self:
        """The format that asks in this one's range, for data of another range."""
        return replace(self, score_range=score_range, asked_range=self.written_range)

    @property
    def written_range(self) -> tuple[float, float]:
        """The range in which answers have their scores."""
        return self.asked_range or self.score_range

    def read_score(self, text: str) -> tuple[float | None, str]:
        """(score in the range of the data, "") or (None, why it cannot be read) of the text of a score."""
        score, why = read_score(text, self.written_range)
        if score is not None and self.asked_range:
            score = carry(score, self.asked_range, self.score_range)
        return score, why

    def write_score(self, score: float) -> str:
        """A score of the data's range as answers have it; the range is not checked."""
        return write_score(carry(score, self.score_range, self.asked_range) if self.asked_range else score)

    def score_ends(self) -> tuple[tuple[float, str], ...]:
        """A score of the data's range and how an answer ends that names it, for the grid of the written range."""
        texts = score_grid(self.written_range)
        return tuple((self.read_score(text)[0], self.score_part(text)) for text in texts)

    def score_part(self, text: str) -> str:
        """The part of an answer that names a score."""
        return f"<score>{text}</score>"

    def before_score(self, text: str) -> str | None:
        """What stands before the first `<score>`, for answers whose `score_part` begins with that tag."""
        tags = scan(text, ("score",))
        return text[: tags[0].start] if tags and not tags[0].closing else None

    def with_score(self, answer: Answer, score: float) -> Answer:
        """The answer with another score of the data's range; what else it names stays."""
        return replace(answer, score=score)

    def truth(self, clip: Labelled) -> Truth | None:
        """The clip's score and its polarity; None without a score."""
        if clip.score is None:
            return None
        score = float(clip.score)
        return Truth(
            polarity=polarity_of(score, self.neutral_eps),
            score=score,
            language=clip.language,
            signs=true_signs(clip.concepts, self.neutral_eps),
        )

    def contradicts(self, answer: Answer) -> bool:
        """Whether the score's sign is not that of the polarity, or a second polarity tag takes the first one back."""
        if answer.polarity is None or answer.score is None:
            return POLARITY_REPEATED in answer.notes
        return polarity_of(answer.score, self.neutral_eps) != answer.polarity

    def hint(self, truth: Truth, level: str) -> str:
        """There is none, unless a format says how its answers begin."""
        refuse_level(level, self.levels)

    def example(self, truth: Truth, level: str) -> str:
        """A well-formed answer that begins with the hint, if the format has one."""
        if level not in self.levels:
            refuse_level(level, self.levels)
        return self.write(truth.polarity, "1.", truth.score)

    def hinted_truths(self, clips: Iterable[Labelled]) -> list[Truth]:
        """Each polarity with a score of it, whatever the clips are."""
        size = min(map(abs, self.score_range))
        signs = dict(zip(POLARITIES, (1, 0, -1), strict=True))
        return [Truth(polarity=polarity, score=sign * size) for polarity, sign in signs.items()]

    def given_parts(self, level: str) -> tuple[str, ...]:
        """The polarity, where there is a hint."""
        return (self.label_part,) if level in self.levels else ()

    def mistakes(self, answer: Answer, truth: Truth) -> dict[str, str]:
        """Of "polarity", "score_sign" and "agreement"."""
        if answer.polarity is None:
            return {}
        found = {"polarity": "" if answer.polarity == truth.polarity else "the teacher's polarity is wrong"}
        if answer.score is not None:
            agrees = polarity_of(answer.score, self.neutral_eps) == answer.polarity
            found["score_sign"] = "" if agrees else "the teacher's score contradicts its polarity"
        if answer.think is not None:
            found["agreement"] = agreement_error(answer.think, truth.signs)
        return found

    def trace_error(self, polarity: str, think: str, score: float, truth: Truth) -> str:
        """The polarity has to be the true one, and the score to agree with it."""
        answer = Answer(polarity=polarity, think=think, score=score)
        if wrong := next(filter(None, self.mistakes(answer, truth).values()), ""):
            return wrong
        try:
            self.write(polarity, think, truth.score)
        except InputError:
            return f"cannot be written as an answer with score {write_score(truth.score)}"
        return ""

    def tokenizer_text(self, polarity: str, think: str, score: float) -> str:
        """The three parts of an answer, in the order of DC answers."""
        return f"<polarity>{polarity}</polarity>\n<think>{think}</think>\n<score>{score}</score>"

    def wording(self, truth: Truth, language: str) -> tuple[str, list[str]]:
        """The polarity, in English as answers have it, and no concepts."""
        return truth.polarity, []

    def about(self, asks: str) -> Self:
        """The same format: answers are not divided by branch."""
        return self

    def describe(self, truth: Truth) -> str:
        """Nothing: reasoning is learned from traces."""
        return ""

    def row_fields(self, answer: Answer, truth: Truth | None) -> dict:
        """None beside those that all formats have."""
        return {}

    def identity(self) -> dict:
        """The name and the range."""
        return {"format": self.name, "score_range": list(self.score_range)}
