"""Answers with concepts marked inside the reasoning, and a class of sentiment after it (CH-CEMS, section 4.2).

    <think>... <facial_expression>happy</facial_expression> ... <speaking_style>Informational Interaction
    </speaking_style> ... <tone>casual</tone> ...</think>
    <sentiment>Weakly Positive</sentiment>

Asking, writing, hinting and reading (answers/concept_reader.py) go by one table (answers/concept_table.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple

from emsa_jax.answers.clues import clues, task
from emsa_jax.answers.concept_reader import ParsedConcepts, read_answer, stands_for
from emsa_jax.answers.concept_table import CH_CEMS, FREE, SENTIMENT, SENTIMENT_LABELS, THINK, Concept, Labels
from emsa_jax.answers.labels import sentiment_of
from emsa_jax.answers.tags import scan
from emsa_jax.errors import InputError

LEVELS = ("sentiment", "sentiment+concepts")


class Truth(NamedTuple):
    """What a right answer says: a class of sentiment, (name, label) of the concepts that are known; its language."""

    sentiment: str
    concepts: tuple[tuple[str, str], ...]
    language: str = "en"


@dataclass(frozen=True)
class Concepts:
    """The format for 3 or 5 classes of sentiment and a table of concepts; classes are those of scores within
    `score_range`."""

    classes: int = 3
    table: tuple[Concept, ...] = CH_CEMS
    score_range: tuple[float, float] = (-1.0, 1.0)
    name: ClassVar[str] = "concepts"
    levels: ClassVar[tuple[str, ...]] = LEVELS

    @property
    def sentiments(self) -> Labels:
        """The classes of sentiment, from the most negative."""
        return SENTIMENT_LABELS[self.classes]

    def truth(self, score: float, concepts: Sequence[tuple[str, str]], language: str = "en") -> Truth:
        """What is true of a clip with this score and these (name, label) pairs; others than the table's are left
        out. InputError for a label that the table does not know."""
        return Truth(sentiment_of(score, self.classes, self.score_range), self.labels_of(concepts), language)

    def labels_of(self, concepts: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """The pairs that the table knows, in its order, in its spelling. InputError for an unknown label."""
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

    def write(self, polarity: str, think: str, score: float) -> str:
        """The answer as text. think: with its concepts marked; the sentiment is the score's class, in the language
        of the marks, and `polarity` is left out. InputError if it could not be read back."""
        sentiment = sentiment_of(score, self.classes, self.score_range)
        text = _answer(think.strip(), self.sentiments.write(sentiment, self._language(think)))
        parsed = self.parse(text)
        if not parsed.well_formed:
            raise InputError(f"this answer cannot be written: {'; '.join(parsed.notes)}")
        return text

    def parse(self, text: str) -> ParsedConcepts:
        """Reads any text whatever; never raises."""
        return read_answer(text, self.table, self.sentiments)

    def hint(self, truth: Truth, level: str = LEVELS[0]) -> str:
        """How an answer begins that is told the truth: the sentiment as a further cue, at the second level the
        concepts too. A line break ends it. No paper has tried either."""
        if level not in LEVELS:
            raise InputError(f"hint.levels: {level!r} is none of {', '.join(LEVELS)}")
        lines = [f"<{THINK}>{mark(FREE, self.sentiments.write(truth.sentiment, truth.language))}"]
        if level == LEVELS[1]:
            lines += self.marks(dict(truth.concepts), truth.language)
        return "".join(f"{line}\n" for line in lines)

    def told(self, level: str) -> tuple[str, ...]:
        """The reward parts that a hint gives away."""
        return ("accuracy",) if level == LEVELS[0] else ("accuracy", "concept")

    def example(self, truth: Truth, level: str = LEVELS[0]) -> str:
        """A well-formed answer that begins with the hint."""
        hint = self.hint(truth, level)
        known = dict(truth.concepts)
        rest = {
            c.name: known.get(c.name, c.labels.known[0])
            for c in self.table
            if level == LEVELS[0] or c.name not in known
        }
        think = hint.removeprefix(f"<{THINK}>") + " ".join([*self.marks(rest, truth.language), "1."])
        return _answer(think, self.sentiments.write(truth.sentiment, truth.language))

    def marks(self, concepts: Mapping[str, str], language: str = "en") -> list[str]:
        """The tagged labels of name -> label, in the table's order."""
        return [mark(c.tag, c.labels.write(concepts[c.name], language)) for c in self.table if c.name in concepts]

    def instruction(self, language: str, has_video: bool, has_audio: bool, has_text: bool) -> str:
        """What to do and in which form, with all labels: what listing 4 asks, in fewer words."""
        present = clues(language, has_video, has_audio, has_text)
        marks = " ... ".join(mark(c.tag, "|".join(c.labels.shown(language))) for c in self.table)
        form = _answer(f"... {marks} ...", "|".join(self.sentiments.shown(language)))
        free = mark(FREE, "...")
        if language == "zh":
            return f"{task(language, present)}，分析一切有用的概念，按此格式回答：\n{form}\n其他概念可用{free}标出。"
        ask = f"{task(language, present)}. Reason over every concept that helps. Reply:"
        return f"{ask}\n{form}\nMark others as {free}."

    def _language(self, think: str) -> str:
        """The language of the labels that a reasoning marks."""
        tags = scan(think, tuple(stands_for(self.table)))
        written = {think[a.end : b.start].strip() for a, b in pairwise(tags) if b.closing and not a.closing}
        english, chinese = (
            {label for c in self.table for label in c.labels.by_language.get(language, ())} for language in ("en", "zh")
        )
        return "zh" if written & (chinese - english) else "en"


def mark(tag: str, text: str) -> str:
    """A tag pair around a text."""
    return f"<{tag}>{text}</{tag}>"


def _answer(think: str, sentiment: str) -> str:
    return f"{mark(THINK, think)}\n{mark(SENTIMENT, sentiment)}"
