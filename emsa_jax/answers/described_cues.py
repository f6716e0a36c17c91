"""Cues out of a description by rule: for texts that say which sense each part is about.

Parts are opened by tags (<visual>, <audio>, <conclusion>) or by words ("In the video", 音频中); each sentence of a part
is a cue. What stands before the first opening, and behind a word that draws a conclusion, is about the emotion.
"""

from __future__ import annotations

import re

from emsa_jax.answers.tags import is_visible, scan

TAGS = {
    **dict.fromkeys(("visual", "video", "vision"), "visual"),
    **dict.fromkeys(("auditory", "audio"), "auditory"),
    **dict.fromkeys(("emotional", "global", "conclusion", "emotion"), "emotional"),
}
SAID = ("text", "subtitle")  # parts about the words: they are neither seen nor heard
_OPENINGS = {
    "visual": r"\bin the (?:video|visual|image|picture|clip)s?\b|\bvisually\b|在?(?:视频|画面|图像)[中里上]",
    "auditory": r"\bin the (?:audio|sound|speech|voice)\b|\bacoustically\b|在?(?:音频|声音|语音)[中里上]",
    "said": r"\bin the (?:text|subtitle|transcript)s?\b|在?(?:文本|字幕|台词)[中里上]",
    "emotional": r"\b(?:overall|therefore|in (?:conclusion|summary)|taken together)\b|综上|总之|因此|总的来说|综合",
}
_OPENING = re.compile("|".join(f"(?P<{kind}>{words})" for kind, words in _OPENINGS.items()), re.IGNORECASE)
# an end of a sentence, with the quote that closes behind it
_SENTENCE = re.compile(
    r"(?<=[.!?;])\s+|(?<=[.!?;][\"'”’)])\s+|(?<=[。！？；])(?![”’」])\s*|(?<=[。！？；][”’」])\s*|\n+"
)
_EDGES = " \t\r,，:：;；、"


def cues_of_text(text: str) -> dict[str, list[str]]:
    """{"visual", "auditory", "emotional"} -> the sentences of a description that are about it.

    Linear in the length of the text, whatever it holds.
    """
    found: dict[str, list[str]] = {"visual": [], "auditory": [], "emotional": []}
    for kind, part in _tagged(text) or _opened(text):
        if kind in found:
            found[kind] += [cue for cue in sentences(part) if is_visible(cue)]
    return found


def sentences(text: str) -> list[str]:
    """The sentences of a text, without white space and commas around them."""
    return [_trimmed(sentence) for sentence in _SENTENCE.split(text)]


def _trimmed(sentence: str) -> str:
    return " ".join(sentence.split()).strip(_EDGES)


def _tagged(text: str) -> list[tuple[str, str]]:
    """(kind, what stands in a tag) for each tag that is closed; [] where there is none."""
    parts, opened = [], None
    for tag in scan(text, (*TAGS, *SAID)):
        if not tag.closing:
            opened = tag
        elif opened is not None and opened.name == tag.name:
            parts.append((TAGS.get(tag.name, "said"), text[opened.end : tag.start]))
            opened = None
    return parts


def _opened(text: str) -> list[tuple[str, str]]:
    """(kind, part) by the words that open parts, the sentence that an opening stands in belonging to it."""
    parts, kind = [], "emotional"
    for sentence in _SENTENCE.split(text):
        opening = _OPENING.search(sentence)
        # words in the middle of a sentence ("which is seen in the video") open nothing
        if opening and opening.start() <= len(sentence) // 4:
            kind = opening.lastgroup
            sentence = sentence[: opening.start()] + " " + sentence[opening.end() :]
        parts.append((kind, sentence))
    return parts
