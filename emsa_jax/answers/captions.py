"""What a projector is aligned with: a word for the class of a clip, a caption of its labels, or what is said in it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from emsa_jax.answers.labels import polarity_of
from emsa_jax.errors import InputError

Kind = Literal["words", "captions", "transcripts"]
MIN_TRANSCRIPTS = 200  # different ones: fewer are learned by heart
_STRENGTHS = {"en": ("slightly ", "", "very "), "zh": ("有点", "", "非常")}
_ASK = {
    "en": {
        "words": "Name the speaker's feeling in one word.",
        "captions": "Describe the speaker's feeling, how strong it is, and the voice.",
        "transcripts": "Write down what the speaker says.",
    },
    "zh": {
        "words": "用一个词说出说话人的情感。",
        "captions": "描述说话人的情感、强弱和声音。",
        "transcripts": "写下说话人所说的话。",
    },
}


class Captioned(Protocol):
    """A clip as far as it can be described. label: the class as the data set names it, "" without one."""

    text: str
    score: float | None
    language: str
    label: str
    concepts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Captions:
    """The texts of one kind that clips are described with, and how a policy is asked for them.

    words: class -> the word for it; a class without one is written in small letters. score_range: of the data.
    neutral_eps: scores within it of 0 are Neutral."""

    kind: Kind
    words: Mapping[str, str]
    score_range: tuple[float, float]
    neutral_eps: float

    def ask(self, modalities: Collection[str], language: str) -> str:
        """What to do; English unless the language is "zh"."""
        return _ASK.get(language, _ASK["en"])[self.kind]

    def text(self, clip: Captioned) -> str:
        """What describes a clip, "" where nothing is known of it."""
        if self.kind == "transcripts":
            return " ".join(clip.text.split())
        word = self._word(clip)
        return word if self.kind == "words" or not word else self._caption(clip, word)

    def texts(self, clips: Sequence[Captioned]) -> list[str]:
        """What describes each clip. Raises InputError where that teaches a projector nothing."""
        found = [self.text(clip) for clip in clips]
        different = len({text.casefold() for text in found if text})
        if self.kind == "transcripts" and different < MIN_TRANSCRIPTS:
            raise InputError(
                f"align.targets=transcripts: the training set has {different} different texts, and a projector needs "
                f"at least {MIN_TRANSCRIPTS}; use words or captions"
            )
        if different < 2:
            raise InputError(
                f"align.targets={self.kind}: the clips of the training set have {different} different descriptions; "
                "label them, or use transcripts"
            )
        return found

    def _word(self, clip: Captioned) -> str:
        name = clip.label or ("" if clip.score is None else polarity_of(clip.score, self.neutral_eps))
        return self.words.get(name, name.lower())

    def _caption(self, clip: Captioned, word: str) -> str:
        chinese = clip.language == "zh"
        strength = _STRENGTHS["zh" if chinese else "en"][self._strength(clip.score)]
        concepts = "".join(f" {name}: {value}." for name, value in clip.concepts)
        return (f"说话人{strength}{word}。" if chinese else f"The speaker is {strength}{word}.") + concepts

    def _strength(self, score: float | None) -> int:
        """0, 1 or 2: whether a score lies in the lower, middle or upper third between 0 and the end of its range."""
        end = 0.0 if score is None else abs(self.score_range[score > 0])
        return 1 if not end or abs(score) <= self.neutral_eps else min(2, int(3 * abs(score) / end))
