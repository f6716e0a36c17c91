"""Discrimination-calibration answers (MSA-Thinker and C2F-Thinker, section III): class, reasons, degree.

    <polarity>Positive</polarity>
    <think>...</think>
    <score>0.6</score>

The reader assumes that the writer is paid to find its holes. What it does:

- A value is read from a tag pair that stands exactly once in the whole text and holds no other tag of the
  three. A tag that is absent, repeated (also inside the reasoning), unclosed, closed before it is opened, or
  filled with another tag has no value: there is no first or last one to choose from.
- polarity: Positive, Neutral or Negative in any ASCII case; no other words, no other language.
- score: a plain ASCII decimal within the range (`scores.read_score`).
- think: at least one visible letter or digit of any script; else it counts as empty and has no value.
- `well_formed`: all three have values, stand in order, nothing but white space stands outside them, and the
  text holds neither a null byte nor the spelling of a special token.
- Never raises, and takes time linear in the length of the text.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import ClassVar

from emsa_jax.answers.answer_format import Answer, Truth, refuse_level
from emsa_jax.answers.labels import POLARITIES, read_polarity
from emsa_jax.answers.messages import outline, task
from emsa_jax.answers.score_format import ScoreFormat
from emsa_jax.answers.tags import Tag, is_clean, is_visible, scan
from emsa_jax.errors import InputError

NAMES = ("polarity", "think", "score")


@dataclass(frozen=True)
class DC(ScoreFormat):
    """The format for scores within `score_range`. order: of the three parts."""

    name: ClassVar[str] = "dc"
    papers: ClassVar[tuple[str, ...]] = ("luo2026msathinker", "luo2026c2fthinker")
    levels: ClassVar[tuple[str, ...]] = ("polarity",)
    label_first: ClassVar[bool] = True
    order: ClassVar[tuple[str, ...]] = NAMES

    def write(self, polarity: str, think: str, score: float) -> str:
        """The answer as text. Raises InputError if it could not be read back: an unknown polarity, reasoning that is
        empty or holds tags, a score outside the range."""
        if polarity not in POLARITIES:
            raise InputError(f"polarity must be one of {', '.join(POLARITIES)}, not {polarity!r}")
        text = self._join(polarity, f"<think>{think.strip()}</think>", self.score_part(self.write_score(score)))
        if notes := self.parse(text).notes:
            raise InputError(f"this answer cannot be written: {'; '.join(notes)}")
        return text

    def parse(self, text: str) -> Answer:
        """Reads any text whatever; see the module's rules."""
        tags = scan(text, NAMES)
        notes, inner = _contents(text, tags)
        polarity = read_polarity(inner["polarity"]) if "polarity" in inner else None
        if "polarity" in inner and polarity is None:
            notes.append("polarity is not one of " + ", ".join(POLARITIES))
        think = inner.get("think", "").strip() if is_visible(inner.get("think", "")) else None
        if "think" in inner and think is None:
            notes.append("think is empty")
        score, why = self.read_score(inner["score"]) if "score" in inner else (None, "")
        if why:
            notes.append(why)
        if len(inner) == 3:
            if [(tag.name, tag.closing) for tag in tags] != [(n, end) for n in self.order for end in (False, True)]:
                notes.append("tags are out of order")
            elif any(text[a:b].strip() for a, b in _outside(tags, len(text))):
                notes.append("text stands outside the tags")
        if not is_clean(text):
            notes.append("a null byte or special token")
        return Answer(polarity=polarity, think=think, score=score, notes=tuple(notes))

    def before_score(self, text: str) -> str | None:
        """What stands before the part of the score, if the other two parts do and no more of their tags."""
        tags = scan(text, NAMES)
        *before, opening = [(name, end) for name in self.order for end in (False, True)][:-1]
        if [(tag.name, tag.closing) for tag in tags[: len(before) + 1]] != [*before, opening]:
            return None
        return text[: tags[len(before)].start]

    def hint(self, truth: Truth, level: str) -> str:
        """How an answer with the true polarity begins, line break included."""
        if level not in self.levels:
            refuse_level(level, self.levels)
        return _polarity_tag(truth.polarity) + "\n"

    def ask(self, modalities: Collection[str], language: str) -> str:
        """What to do and in which form, with the three polarities and the range of scores."""
        low, high = self.written_range
        words = outline(modalities, language)
        if language == "zh":
            form, about, scale = "，按此格式回答：", "线索：" + "、".join(words), f"{low:g}到{high:g}"
        else:
            form, about, scale = ". Reply:", "clues: " + ", ".join(words), f"{low:g} to {high:g}"
        lines = self._join("|".join(POLARITIES), f"<think>{about}</think>", f"<score>{scale}</score>")
        return f"{task(modalities, language)}{form}\n{lines}"

    def _join(self, polarity: str, think: str, score: str) -> str:
        """The three parts in the order of the format."""
        lines = {"polarity": _polarity_tag(polarity), "think": think, "score": score}
        return "\n".join(lines[name] for name in self.order)


def _polarity_tag(polarity: str) -> str:
    return f"<polarity>{polarity}</polarity>"


def _contents(text: str, tags: list[Tag]) -> tuple[list[str], dict[str, str]]:
    """(notes on the tags, name -> text between its tags) of the parts that have a value."""
    notes, inner = [], {}
    for name in NAMES:
        at = [i for i, tag in enumerate(tags) if tag.name == name]
        if not at:
            notes.append(f"{name} is absent")
        elif sum(not tags[i].closing for i in at) > 1 or sum(tags[i].closing for i in at) > 1:
            notes.append(f"{name} is repeated")
        elif len(at) < 2 or tags[at[0]].closing:
            notes.append(f"{name} is not closed")
        elif at[1] != at[0] + 1:
            notes.append(f"{name} holds another tag")
        else:
            inner[name] = text[tags[at[0]].end : tags[at[1]].start]
    return notes, inner


def _outside(tags: list[Tag], length: int) -> Iterable[tuple[int, int]]:
    """The stretches before, between and after three pairs in order."""
    starts = (0, tags[1].end, tags[3].end, tags[5].end)
    ends = (tags[0].start, tags[2].start, tags[4].start, length)
    return zip(starts, ends, strict=True)
