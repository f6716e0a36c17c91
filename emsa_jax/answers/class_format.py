"""What formats have in common whose answers name a class of sentiment (CH-CEMS, section 4)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from emsa_jax.answers.answer_format import Answer, Labelled, Pairs, Truth, refuse_level
from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.claim_truth import agreement_error, true_signs
from emsa_jax.answers.concept_reader import CONTRADICTS, REPEATED
from emsa_jax.answers.concept_table import CH_CEMS, SENTIMENT_LABELS, Concept, Labels, concept_table
from emsa_jax.answers.labels import polarity_of_sentiment, sentiment_of
from emsa_jax.config.edge import digest
from emsa_jax.errors import InputError


@dataclass(frozen=True)
class ClassFormat:
    """classes: of sentiment, 3 or 5; they are those of scores within `score_range`, the range of the data. table: of
    the concepts that clips are known to have."""

    classes: int = 3
    table: tuple[Concept, ...] = CH_CEMS
    score_range: tuple[float, float] = (-1.0, 1.0)
    levels: ClassVar[tuple[str, ...]] = ()
    parts: ClassVar[tuple[str, ...]] = ("format", "accuracy")
    label_part: ClassVar[str] = "accuracy"
    label_first: ClassVar[bool] = False
    has_reasoning: ClassVar[bool] = True
    papers: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def of(cls, score_range: tuple[float, float], neutral_eps: float, concepts: ConceptOptions) -> Self:
        """As `AnswerFormat.of`; the edges of the classes are the field's, whatever neutral_eps is. Raises InputError
        for a table of concepts that cannot be read."""
        return cls(concepts.classes, concept_table(concepts), score_range)

    def for_range(self, score_range: tuple[float, float]) -> Self:
        """The same format: answers have no range."""
        return replace(self, score_range=score_range)

    @property
    def sentiments(self) -> Labels:
        """The classes of sentiment, from the most negative."""
        return SENTIMENT_LABELS[self.classes]

    @property
    def marked(self) -> tuple[Concept, ...]:
        """The concepts that answers mark: none, unless a format says which."""
        return ()

    def truth(self, clip: Labelled) -> Truth | None:
        """The class of the clip's score, and the concepts that are known of it; None without a score."""
        if clip.score is None:
            return None
        sentiment = self.sentiment_of(clip.score)
        try:
            concepts = self.labels_of(clip.concepts)
        except InputError as error:
            raise InputError(f"clip {getattr(clip, 'id', '')!r}: {error}") from error
        return Truth(
            polarity=polarity_of_sentiment(sentiment),
            score=float(clip.score),
            sentiment=sentiment,
            concepts=concepts,
            language=clip.language,
            signs=true_signs(clip.concepts),
        )

    def sentiment_of(self, score: float) -> str:
        """The class of a score."""
        return sentiment_of(score, self.classes, self.score_range)

    def labels_of(self, concepts: Iterable[tuple[str, str]]) -> Pairs:
        """The (concept, label) pairs that the table knows, in its order, in its spelling. Raises InputError for an
        unknown label."""
        given = dict(concepts)
        found = []
        for concept in self.table:
            if written := given.get(concept.name):
                label = concept.labels.read(written)
                if label is None:
                    raise InputError(
                        f"{concept.name} {written!r} is none of {', '.join(concept.labels.known)}; "
                        "correct it, or name a table that has it as concepts.table"
                    )
                found.append((concept.name, label))
        return tuple(found)

    def contradicts(self, answer: Answer) -> bool:
        """Whether the answer names a sentiment more than once, or a concept under two labels."""
        return any(note == REPEATED or note.endswith(CONTRADICTS) for note in answer.notes)

    def score_ends(self) -> tuple[tuple[float, str], ...]:
        """None: answers name no score."""
        return ()

    def before_score(self, text: str) -> None:
        """Nothing, for the same reason."""

    def with_score(self, answer: Answer, score: float) -> Answer:
        """The answer as it is."""
        return answer

    def hint(self, truth: Truth, level: str) -> str:
        """There is none, unless a format says how its answers begin."""
        refuse_level(level, self.levels)

    def example(self, truth: Truth, level: str) -> str:
        """There is none, as for the hint."""
        refuse_level(level, self.levels)

    def hinted_truths(self, clips: Iterable[Labelled]) -> list[Truth]:
        """What is true of the clips that have a label."""
        return [truth for truth in map(self.truth, clips) if truth]

    def given_parts(self, level: str) -> tuple[str, ...]:
        """None, unless a format has hints."""
        return ()

    def mistakes(self, answer: Answer, truth: Truth) -> dict[str, str]:
        """Of "sentiment", and of "agreement" where there is a reasoning."""
        if answer.sentiment is None:
            return {}
        found = {"sentiment": "" if answer.sentiment == truth.sentiment else "the teacher's sentiment is wrong"}
        if answer.think is not None:
            found["agreement"] = agreement_error(answer.think, truth.signs)
        return found

    def trace_error(self, polarity: str, think: str, score: float, truth: Truth) -> str:
        """The score has to be of the true class, and each concept that is marked to have its true label, as far as that
        is known."""
        low, high = self.score_range
        if self.sentiment_of(min(max(score, low), high)) != truth.sentiment:
            return "the teacher's sentiment is wrong"
        try:
            answer = self.parse(self.write(polarity, think, truth.score))
        except InputError:
            return f"cannot be written as an answer with sentiment {truth.sentiment}"
        known = dict(truth.concepts)
        wrong = [name for name, label in answer.concepts if known.get(name, label) != label]
        return f"the teacher's {wrong[0]} is wrong" if wrong else agreement_error(answer.think, truth.signs)

    def tokenizer_text(self, polarity: str, think: str, score: float) -> str:
        """The reasoning and the class, in English."""
        return f"<think>{think}</think>\n<sentiment>{self.sentiment_of(score)}</sentiment>"

    def wording(self, truth: Truth, language: str) -> tuple[str, list[str]]:
        """The class as the language spells it, and no concepts unless a format marks them."""
        return self.sentiments.write(truth.sentiment, language), []

    def about(self, asks: str) -> Self:
        """The same format: answers are not divided by branch."""
        return self

    def describe(self, truth: Truth) -> str:
        """Nothing: reasoning is learned from traces."""
        return ""

    def row_fields(self, answer: Answer, truth: Truth | None) -> dict:
        """What the answer names, and what is true."""
        return {
            "sentiment": answer.sentiment,
            "target_sentiment": truth.sentiment if truth else None,
            "concepts": dict(answer.concepts),
            "target_concepts": dict(truth.concepts) if truth else {},
        }

    def identity(self) -> dict:
        """The name, the range, the number of classes and the table's hash."""
        row = {"format": self.name, "score_range": list(self.score_range)}
        return row | {"classes": self.classes, "table": digest(self.table)[:16]}
