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

from dataclasses import dataclass
from typing import ClassVar

from emsa_jax.answers.clues import clues, outline, task
from emsa_jax.answers.labels import POLARITIES, read_polarity
from emsa_jax.answers.scores import read_score, write_score
from emsa_jax.answers.tags import is_clean, is_visible, scan
from emsa_jax.errors import InputError

NAMES = ("polarity", "think", "score")


@dataclass(frozen=True)
class Parsed:
    """What was read from one answer; None where a value is absent or not readable."""

    polarity: str | None
    think: str | None  # stripped
    score: float | None
    well_formed: bool
    notes: tuple[str, ...] = ()  # what is wrong, in short fixed phrases


@dataclass(frozen=True)
class DC:
    """The format for scores within `score_range`."""

    score_range: tuple[float, float] = (-1.0, 1.0)
    name: ClassVar[str] = "dc"
    levels: ClassVar[tuple[str, ...]] = ("polarity",)  # that a hint can tell
    order: ClassVar[tuple[str, ...]] = NAMES

    def write(self, polarity: str, think: str, score: float) -> str:
        """The answer as text. InputError if it could not be read back: an unknown polarity, reasoning that is
        empty or holds tags, a score outside the range."""
        text = f"{self.hint(polarity)}<think>{think.strip()}</think>\n<score>{write_score(score)}</score>"
        parsed = self.parse(text)
        if not parsed.well_formed:
            raise InputError(f"this answer cannot be written: {'; '.join(parsed.notes)}")
        return text

    def parse(self, text: str) -> Parsed:
        """Reads any text whatever; see the module's rules."""
        tags = scan(text, NAMES)
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

        polarity = read_polarity(inner["polarity"]) if "polarity" in inner else None
        if "polarity" in inner and polarity is None:
            notes.append("polarity is not one of " + ", ".join(POLARITIES))
        think = inner.get("think", "").strip() if is_visible(inner.get("think", "")) else None
        if "think" in inner and think is None:
            notes.append("think is empty")
        score, why = read_score(inner["score"], self.score_range) if "score" in inner else (None, "")
        if why:
            notes.append(why)
        if len(inner) == 3:
            if [(tag.name, tag.closing) for tag in tags] != [(n, end) for n in self.order for end in (False, True)]:
                notes.append("tags are out of order")
            elif any(text[a:b].strip() for a, b in _outside(tags, len(text))):
                notes.append("text stands outside the tags")
        if not is_clean(text):
            notes.append("a null byte or special token")
        return Parsed(polarity, think, score, not notes, tuple(notes))

    def hint(self, polarity: str) -> str:
        """How an answer with this polarity begins, newline included: what is injected into hard samples."""
        if polarity not in POLARITIES:
            raise InputError(f"polarity must be one of {', '.join(POLARITIES)}, not {polarity!r}")
        return f"<polarity>{polarity}</polarity>\n"

    def instruction(self, language: str, has_video: bool, has_audio: bool, has_text: bool) -> str:
        """What to do and in which form, naming only the modalities that are there."""
        present = clues(language, has_video, has_audio, has_text)
        low, high = self.score_range
        if language == "zh":
            ask, about = "，按此格式回答：", "线索：" + "、".join(outline(language, present))
            scale = f"{low:g}到{high:g}"
        else:
            ask, about = ". Reply:", "clues: " + ", ".join(outline(language, present))
            scale = f"{low:g} to {high:g}"
        return (
            f"{task(language, present)}{ask}\n<polarity>{'|'.join(POLARITIES)}</polarity>\n"
            f"<think>{about}</think>\n<score>{scale}</score>"
        )


def _outside(tags, length: int):
    """The stretches before, between and after three pairs in order."""
    starts = (0, tags[1].end, tags[3].end, tags[5].end)
    ends = (tags[0].start, tags[2].start, tags[4].start, length)
    return zip(starts, ends, strict=True)
