"""Answers with concepts marked inside the reasoning, and a class of sentiment after it (CH-CEMS, section 4.2).

    <think>... <facial_expression>happy</facial_expression> ... <speaking_style>Informational Interaction
    </speaking_style> ... <tone>casual</tone> ...</think>
    <sentiment>Weakly Positive</sentiment>

Asking, writing, hinting and reading (answers/concept_reader.py) go by one table (answers/concept_table.py).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from emsa_jax.answers.answer_format import Answer, Truth, refuse_level
from emsa_jax.answers.class_format import ClassFormat
from emsa_jax.answers.concept_reader import read_answer, stands_for
from emsa_jax.answers.concept_table import FREE, SENTIMENT, THINK, Concept
from emsa_jax.answers.messages import task
from emsa_jax.answers.tags import scan
from emsa_jax.errors import InputError

LEVELS = ("sentiment", "sentiment+concepts")


@dataclass(frozen=True)
class Concepts(ClassFormat):
    """The format for 3 or 5 classes of sentiment and a table of concepts."""

    name: ClassVar[str] = "concepts"
    papers: ClassVar[tuple[str, ...]] = ("chcems",)
    levels: ClassVar[tuple[str, ...]] = LEVELS
    parts: ClassVar[tuple[str, ...]] = ("format", "accuracy", "concept")

    @property
    def marked(self) -> tuple[Concept, ...]:
        """Those of the table."""
        return self.table

    def write(self, polarity: str, think: str, score: float) -> str:
        """The answer as text. think: with its concepts marked; the sentiment is the score's class, in the language of
        the marks, and `polarity` is left out. Raises InputError if it could not be read back."""
        sentiment = self.sentiments.write(self.sentiment_of(score), self._language(think))
        text = _answer(think.strip(), sentiment)
        if notes := self.parse(text).notes:
            raise InputError(f"this answer cannot be written: {'; '.join(notes)}")
        return text

    def parse(self, text: str) -> Answer:
        """Reads any text whatever; never raises."""
        return read_answer(text, self.table, self.sentiments)

    def hint(self, truth: Truth, level: str) -> str:
        """How an answer begins that was given the truth: the sentiment as a further cue, at the second level the
        concepts too. A line break ends it. No paper has tried either."""
        if level not in LEVELS:
            refuse_level(level, LEVELS)
        lines = [f"<{THINK}>{mark(FREE, self.sentiments.write(truth.sentiment, truth.language))}"]
        if level == LEVELS[1]:
            lines += self.marks(dict(truth.concepts), truth.language)
        return "".join(f"{line}\n" for line in lines)

    def given_parts(self, level: str) -> tuple[str, ...]:
        """The class, at the second level the concepts too."""
        return {LEVELS[0]: ("accuracy",), LEVELS[1]: ("accuracy", "concept")}.get(level, ())

    def example(self, truth: Truth, level: str) -> str:
        """A well-formed answer that begins with the hint; a concept that is not known gets the table's first label."""
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

    def ask(self, modalities: Collection[str], language: str) -> str:
        """What to do and in which form, with all labels: what listing 4 asks, in fewer words."""
        marks = " ... ".join(mark(c.tag, "|".join(c.labels.spelled(language))) for c in self.table)
        form = _answer(f"... {marks} ...", "|".join(self.sentiments.spelled(language)))
        start, free = task(modalities, language), mark(FREE, "...")
        if language == "zh":
            return f"{start}，分析一切有用的概念，按此格式回答：\n{form}\n其他概念可用{free}标出。"
        return f"{start}. Reason over every concept that helps. Reply:\n{form}\nMark others as {free}."

    def mistakes(self, answer: Answer, truth: Truth) -> dict[str, str]:
        """Of "sentiment" and "concepts"."""
        written, true = dict(answer.concepts), dict(truth.concepts)
        wrong = [f"{name} is not the true one" for name in true if name in written and written[name] != true[name]]
        absent = [f"{name} is absent" for name in true if name not in written]
        return super().mistakes(answer, truth) | {"concepts": "; ".join(wrong + absent)}

    def wording(self, truth: Truth, language: str) -> tuple[str, list[str]]:
        """The class as the language spells it, and the concepts marked."""
        return self.sentiments.write(truth.sentiment, language), self.marks(dict(truth.concepts), language)

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
