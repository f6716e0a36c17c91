"""Descriptions of emotional cues (XEmoGPT, section III): what is seen, what is heard, and what follows from them.

    In the video, she raises her brows. Her mouth is open.
    In the audio, her voice rises.
    Overall, she did not expect it. The sentiment is Neutral.

A clip that is asked about one branch alone has that part and the last one. The reader assumes that the writer is paid
to find its holes. What it does:

- A part is a line that begins with the opening of its kind; a line break ends it. An opening that stands more than once
  in the whole text, or elsewhere than at the start of a line, gives no cues of its kind.
- cues: the sentences of a part, each counted once, with at least one visible letter or digit.
- sentiment: in the words "The sentiment is ...", which end the last part and stand nowhere else; but an answer may
  begin with a line of them (a hint), and contradicts itself if it ends with others.
- `well_formed`: what is seen or heard and the last part, in order, a readable sentiment, nothing else beside them, no
  tags, neither a null byte nor the spelling of a special token.
- Never raises, and takes time linear in the length of the text.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from emsa_jax.answers.answer_format import Answer, Labelled, Pairs, Truth, refuse_level
from emsa_jax.answers.claim_truth import sign_of_label
from emsa_jax.answers.class_format import ClassFormat
from emsa_jax.answers.concept_reader import CONTRADICTS, REPEATED
from emsa_jax.answers.described_cues import cues_of_text, sentences
from emsa_jax.answers.labels import polarity_of_sentiment
from emsa_jax.answers.messages import task
from emsa_jax.answers.tags import is_clean, is_visible
from emsa_jax.errors import InputError

KINDS = ("visual", "auditory", "emotional")
OPENINGS = {
    "en": {"visual": "In the video,", "auditory": "In the audio,", "emotional": "Overall,"},
    "zh": {"visual": "视频中，", "auditory": "音频中，", "emotional": "综上，"},
}
CLASS = {"en": ("The sentiment is ", "."), "zh": ("情感是", "。")}
_ASKED = {  # what stands in a request in place of a part
    "en": {"visual": "what is seen.", "auditory": "what is heard.", "emotional": "what follows from it."},
    "zh": {"visual": "所见。", "auditory": "所闻。", "emotional": "由此可见的情感。"},
}
_MEDIUM = {"visual": "video", "auditory": "audio"}
_BRANCH = {"visual": "visual", "auditory": "audio"}  # kind of cue -> what a question about it alone is called
_ENDS = (".", "!", "?", ";", "。", "！", "？", "；")


@dataclass(frozen=True)
class Describe(ClassFormat):
    """The format for 3 or 5 classes of sentiment. asks: about "both" branches, or "visual" or "audio" alone."""

    asks: str = "both"
    name: ClassVar[str] = "describe"
    papers: ClassVar[tuple[str, ...]] = ("zhang2026xemogpt",)
    levels: ClassVar[tuple[str, ...]] = ("sentiment",)
    parts: ClassVar[tuple[str, ...]] = ("format", "accuracy", "cue_f1", "length")

    def about(self, asks: str) -> Self:
        """The format of answers about both branches, or about one of them."""
        return replace(self, asks=asks)

    def truth(self, clip: Labelled) -> Truth | None:
        """As of other classes, with the cues that are known (`known_cues`); of a clip without a score, the class that
        the name of its emotion stands for, if it is of one sign."""
        truth = super().truth(clip) if clip.score is not None else self._by_name(clip)
        return truth and replace(truth, cues=known_cues(clip))

    def _by_name(self, clip: Labelled) -> Truth | None:
        names = re.split(r"[,，;；/]", getattr(clip, "label", ""))[:1]
        sign = sign_of_label(names[0]) if names else None
        if sign is None:
            return None
        polarity = sign.capitalize()
        score = {"Negative": self.score_range[0], "Positive": self.score_range[1]}.get(polarity, 0.0)
        return Truth(polarity=polarity, score=score, sentiment=self.sentiment_of(score), language=clip.language)

    def write(self, polarity: str, think: str, score: float) -> str:
        """The answer as text, of what a description says of the branches that are asked about. Raises InputError for
        one that says nothing of them, or that could not be read back."""
        found = cues_of_text(think)
        language = "zh" if _is_chinese(think) else "en"
        kinds = [kind for kind in _BRANCH if self._asked(kind) and found[kind]]
        if not kinds:
            raise InputError(f"this answer cannot be written: it says nothing of what is {self._senses()}")
        lines = [_line(kind, found[kind], language) for kind in kinds]
        sentiment = self.sentiment_of(score)
        last = [cue for cue in found["emotional"] if self._read_class(cue) is None]
        last.append(self._class_of(sentiment, language))
        text = "\n".join([*lines, _line("emotional", last, language)])
        if notes := self.parse(text).notes:
            raise InputError(f"this answer cannot be written: {'; '.join(notes)}")
        return text

    def parse(self, text: str) -> Answer:
        """Reads any text whatever; see the module's rules."""
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        notes: list[str] = []
        given = self._read_class(lines[0]) if lines else None
        body = lines[1:] if given else lines
        language = "zh" if any(line.startswith(tuple(OPENINGS["zh"].values())) for line in body) else "en"
        parts, cues = [_opened(line, language) for line in body], []
        for kind in KINDS:
            mine, why = _cues_of(kind, parts, text)
            cues += [(kind, cue) for cue in mine]
            notes += [why] if why else []
        sentiment, why = self._sentiment(body, language, text, given)
        notes += [why] if why else []
        kinds = [kind for kind, _ in parts]
        if None in kinds:
            notes.append("text stands outside the parts")
        elif kinds != sorted(kinds, key=KINDS.index):
            notes.append("parts are out of order")
        if not any(kind in kinds for kind in _BRANCH if self._asked(kind)):
            notes.append(f"nothing is said of what is {self._senses()}")
        if any(kind in kinds and not self._asked(kind) for kind in _BRANCH):
            notes.append("a part is not asked about")
        if not is_clean(text) or "<" in text:
            notes.append("a null byte, tag or special token")
        cues = [(kind, cue) for kind, cue in cues if self._read_class(cue) is None]
        think = "\n".join(body) if cues else None
        named = polarity_of_sentiment(sentiment) if sentiment else None
        return Answer(polarity=named, think=think, sentiment=sentiment, cues=tuple(cues), notes=tuple(notes))

    def _sentiment(self, body: list[str], language: str, text: str, given: str | None) -> tuple[str | None, str]:
        """(the class that ends the last part, why it has none)."""
        opening, end = CLASS[language]
        before, found, after = body[-1].rpartition(opening) if body else ("", "", "")
        if not found:
            return None, "sentiment is absent"
        if sum(text.count(words) for words, _ in CLASS.values()) > 1 + (given is not None):
            return None, REPEATED
        label = self.sentiments.read(after.removesuffix(end)) if after.endswith(end) else None
        if label is None or _opened(body[-1], language)[0] != "emotional":
            return None, "sentiment is not one of " + ", ".join(self.sentiments.known) + " at the end"
        return (label, "") if given in (None, label) else (None, f"sentiment {CONTRADICTS}")

    def _read_class(self, sentence: str) -> str | None:
        """The class of a text that is "The sentiment is ..." and nothing else."""
        for opening, end in CLASS.values():
            if sentence.startswith(opening) and sentence.endswith(end):
                return self.sentiments.read(sentence[len(opening) : -len(end)])
        return None

    def hint(self, truth: Truth, level: str) -> str:
        """The sentence that names the class, on a line of its own."""
        if level not in self.levels:
            refuse_level(level, self.levels)
        return self._class_of(truth.sentiment, truth.language) + "\n"

    def example(self, truth: Truth, level: str) -> str:
        """A well-formed answer that begins with the hint."""
        language = truth.language if truth.language in OPENINGS else "en"
        last = _line("emotional", [self._class_of(truth.sentiment, language)], language)
        kind = next(kind for kind in _BRANCH if self._asked(kind))
        return self.hint(truth, level) + "\n".join([_line(kind, ["1"], language), last])

    def given_parts(self, level: str) -> tuple[str, ...]:
        """The class, where there is a hint."""
        return (self.label_part,) if level in self.levels else ()

    def hinted_truths(self, clips: Iterable[Labelled]) -> list[Truth]:
        """Each class, in the languages of the clips."""
        return list({(t.sentiment, t.language): t for t in filter(None, map(self.truth, clips))}.values())

    def ask(self, modalities: Collection[str], language: str) -> str:
        """What to do and in which form, with the classes."""
        at = language if language in OPENINGS else "en"
        kinds = [kind for kind in _BRANCH if _MEDIUM[kind] in modalities] or list(_BRANCH)
        lines = [f"{OPENINGS[at][kind]}{'' if at == 'zh' else ' '}{_ASKED[at][kind]}" for kind in (*kinds, "emotional")]
        sentiment = "|".join(self.sentiments.spelled(language))
        lines[-1] += ("" if at == "zh" else " ") + f"{CLASS[at][0]}{sentiment}{CLASS[at][1]}"
        form = "，描述线索，按此格式回答：" if at == "zh" else ". Describe the cues in this form:"
        return f"{task(modalities, language)}{form}\n" + "\n".join(lines)

    def describe(self, truth: Truth) -> str:
        """A description made of the cues that are known, to learn from; "" where nothing of what is asked is."""
        language = "zh" if truth.language == "zh" else "en"
        found = {kind: [cue for of, cue in truth.cues if of == kind] for kind in KINDS}
        return "\n".join(_line(kind, cues, language) for kind, cues in found.items() if cues)

    def trace_error(self, polarity: str, think: str, score: float, truth: Truth) -> str:
        """The score has to be of the true class, and the description to be one."""
        low, high = self.score_range
        if self.sentiment_of(min(max(score, low), high)) != truth.sentiment:
            return "the teacher's sentiment is wrong"
        try:
            self.write(polarity, think, truth.score)
        except InputError as error:
            return str(error)
        return ""

    def tokenizer_text(self, polarity: str, think: str, score: float) -> str:
        """The description and its class, in English."""
        return f"{think}\n{self._class_of(self.sentiment_of(score), 'en')}"

    def _asked(self, kind: str) -> bool:
        return self.asks in ("both", _BRANCH[kind])

    def _senses(self) -> str:
        return {"both": "seen or heard", "visual": "seen", "audio": "heard"}[self.asks]

    def _class_of(self, sentiment: str, language: str) -> str:
        opening, end = CLASS["zh" if language == "zh" else "en"]
        return f"{opening}{self.sentiments.write(sentiment, language)}{end}"


def known_cues(clip: Labelled) -> Pairs:
    """(kind, cue) of what is known of a clip: the cues of the description that came with it, or else what its labelled
    concepts say of face and voice."""
    described = cues_of_text(getattr(clip, "reasoning", ""))
    if described["visual"] or described["auditory"]:
        return tuple((kind, cue) for kind in KINDS for cue in dict.fromkeys(described[kind]))
    zh, known = clip.language == "zh", dict(clip.concepts)
    words = {
        "expression": ("visual", "表情是{}。" if zh else "The expression is {}."),
        "facial_expression": ("visual", "表情是{}。" if zh else "The expression is {}."),
        "tone": ("auditory", "语气是{}。" if zh else "The tone of voice is {}."),
        "speaking_style": ("auditory", "说话方式是{}。" if zh else "The manner of speech is {}."),
    }
    found = [(kind, form.format(known[name])) for name, (kind, form) in words.items() if known.get(name)]
    return tuple(dict.fromkeys(found))


def _line(kind: str, cues: Iterable[str], language: str) -> str:
    space, end = ("", "。") if language == "zh" else (" ", ".")
    written = [cue if cue.endswith(_ENDS) else cue + end for cue in cues]
    return f"{OPENINGS[language][kind]}{space}{space.join(written)}"


def _opened(line: str, language: str) -> tuple[str | None, str]:
    """(the kind of the part that a line is, None for none; the rest of the line)."""
    for kind, opening in OPENINGS[language].items():
        if line.startswith(opening):
            return kind, line[len(opening) :]
    return None, line


def _cues_of(kind: str, parts: list[tuple[str | None, str]], text: str) -> tuple[list[str], str]:
    """(the cues of a kind, what is wrong with its part)."""
    mine = [rest for found, rest in parts if found == kind]
    if not mine:
        return [], f"{kind} part is absent" if kind == "emotional" else ""
    if sum(text.count(openings[kind]) for openings in OPENINGS.values()) > 1:
        return [], f"{kind} part is repeated"
    cues = list(dict.fromkeys(cue for cue in sentences(mine[0]) if is_visible(cue)))
    return cues, "" if cues else f"{kind} part is empty"


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= letter <= "\u9fff" for letter in text)
