"""What every answer format does, and what it makes: the record of an answer that was read, and that of the truth.

A new format is one file with a class that fulfils `AnswerFormat`, and one line in answers/formats.py. It usually
derives from `ScoreFormat` (answers that name a score) or `ClassFormat` (answers that name a class). The rest of the
package knows formats by this protocol alone.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar, NoReturn, Protocol, Self, runtime_checkable

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.concept_table import Concept
from emsa_jax.errors import InputError

Pairs = tuple[tuple[str, str], ...]  # (concept, label)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was read from one answer. A value that is absent or cannot be read is None.

    polarity: one of `labels.POLARITIES`. think: the reasoning, without white space around it. score: in the score
    range of the data. sentiment: one of `labels.SENTIMENTS` of the format's number of classes. concepts: those that
    have a value, in the order of the format's table. free: the texts of `<concept>` tags. cues: (kind, sentence) of a
    description, the kinds being "visual", "auditory" and "emotional". notes: what is wrong with the answer, in short
    fixed phrases.
    """

    polarity: str | None = None
    think: str | None = None
    score: float | None = None
    sentiment: str | None = None
    concepts: Pairs = ()
    free: tuple[str, ...] = ()
    cues: Pairs = ()
    notes: tuple[str, ...] = ()

    @property
    def well_formed(self) -> bool:
        """Whether nothing is wrong with the answer's form."""
        return not self.notes

    @property
    def is_read(self) -> bool:
        """Whether its score, or its class of sentiment, can be read."""
        return self.score is not None or self.sentiment is not None


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a right answer about a clip says.

    score: in the score range of the data. sentiment, concepts: of formats that name a class; concepts are those whose
    label is known. language: of the clip. signs: of words, face and voice, as far as they are known
    (`claim_truth.true_signs`). cues: (kind, sentence) that a description owes, of formats that describe.
    """

    polarity: str
    score: float
    sentiment: str = ""
    concepts: Pairs = ()
    language: str = "en"
    signs: Pairs = ()
    cues: Pairs = ()


class Labelled(Protocol):
    """A clip, or what stands for it, as far as its labels go. score: None where there is no label."""

    @property
    def score(self) -> float | None: ...

    @property
    def concepts(self) -> Pairs: ...

    @property
    def language(self) -> str: ...


@runtime_checkable
class AnswerFormat(Protocol):
    """A form that answers have.

    name: as `config.format` has it. levels: of detail that a hint can have, () where nothing can be hinted at. parts:
    names of the reward parts that apply (the functions stand in rewards/parts.py). label_part: the one of them that
    says whether the label is right. label_first: answers begin with their label, so that its log-probability can be
    measured and a template can stand for the hint. has_reasoning: answers hold reasoning, which has to be learned from
    traces. papers: that it is from, by their keys in the bibliography. score_range: of the data. classes: of sentiment
    that answers name, 0 where they name a score. marked: the concepts that answers mark.
    """

    name: ClassVar[str]
    levels: ClassVar[tuple[str, ...]]
    parts: ClassVar[tuple[str, ...]]
    label_part: ClassVar[str]
    label_first: ClassVar[bool]
    has_reasoning: ClassVar[bool]
    papers: ClassVar[tuple[str, ...]]
    classes: int

    @property
    def score_range(self) -> tuple[float, float]: ...

    @property
    def marked(self) -> tuple[Concept, ...]: ...

    @classmethod
    def of(cls, score_range: tuple[float, float], neutral_eps: float, concepts: ConceptOptions) -> Self:
        """The format for scores within `score_range`. neutral_eps: scores within it of 0 are Neutral."""
        ...

    def for_range(self, score_range: tuple[float, float]) -> Self:
        """The format that asks as this one does, for data whose scores have another range."""
        ...

    def about(self, asks: str) -> Self:
        """The format of answers to a question about "both" branches, or about the "visual" or the "audio" one alone;
        the same where answers are not divided by branch."""
        ...

    def ask(self, modalities: Collection[str], language: str) -> str:
        """What to do and in which form, naming only the modalities that the prompt has ("text", "audio", "video").
        English unless the language is "zh"."""
        ...

    def write(self, polarity: str, think: str, score: float) -> str:
        """The answer as text. Raises InputError for one that could not be read back."""
        ...

    def parse(self, text: str) -> Answer:
        """Reads any text whatever. Never raises, and takes time linear in the length of the text."""
        ...

    def score_ends(self) -> tuple[tuple[float, str], ...]:
        """(score in the range of the data, how an answer ends that names it) for each score of a grid; () where answers
        name no score."""
        ...

    def before_score(self, text: str) -> str | None:
        """What an answer says before the part that names its score, which any of `score_ends` may follow; None where
        there is no such place."""
        ...

    def with_score(self, answer: Answer, score: float) -> Answer:
        """The answer as if it named another score, of the range of the data."""
        ...

    def truth(self, clip: Labelled) -> Truth | None:
        """What is true of a clip; None where it has no label. Raises InputError naming the clip for a label that is
        unknown."""
        ...

    def contradicts(self, answer: Answer) -> bool:
        """Whether the answer contradicts itself."""
        ...

    def hint(self, truth: Truth, level: str) -> str:
        """How an answer begins that was given the truth. Raises InputError for a level that there is not."""
        ...

    def example(self, truth: Truth, level: str) -> str:
        """A well-formed answer that begins with the hint."""
        ...

    def hinted_truths(self, clips: Iterable[Labelled]) -> list[Truth]:
        """The truths that clips can be given as a hint."""
        ...

    def given_parts(self, level: str) -> tuple[str, ...]:
        """The reward parts that a hint gives away."""
        ...

    def mistakes(self, answer: Answer, truth: Truth) -> dict[str, str]:
        """Name of a check -> "", or what is wrong with a teacher's answer; only of what could be read."""
        ...

    def trace_error(self, polarity: str, think: str, score: float, truth: Truth) -> str:
        """Why a teacher's trace about a clip with this truth is not learned from, "" if it is."""
        ...

    def tokenizer_text(self, polarity: str, think: str, score: float) -> str:
        """A trace as text, unchecked, to learn a tokenizer from; "" for a format without reasoning."""
        ...

    def wording(self, truth: Truth, language: str) -> tuple[str, list[str]]:
        """(the true class, the true concepts with their tags) as answers in a language have them."""
        ...

    def row_fields(self, answer: Answer, truth: Truth | None) -> dict:
        """Fields of a prediction's row beside those that all formats have."""
        ...

    def describe(self, truth: Truth) -> str:
        """What of a truth can be learned as a trace's reasoning, "" for nothing."""
        ...

    def identity(self) -> dict:
        """JSON values that stand for the format in a record; a user's own table of concepts by its hash alone."""
        ...


def refuse_level(level: str, levels: tuple[str, ...]) -> NoReturn:
    """Raises InputError for a level of hints that a format does not have."""
    if not levels:
        raise InputError("hint.mode: this answer format has nothing to hint at; use hint.mode=off")
    raise InputError(f"hint.levels: {level!r} is none of {', '.join(levels)}")
