"""Prompts as text: the words for what a clip has, and chat messages in the Hugging Face form.

A modality that the prompt does not have is never named.
"""

from collections.abc import Callable, Collection
from types import MappingProxyType

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.answers.instructions import WORDS, Instructions

SYSTEM = {"en": "You read people's feelings.", "zh": "你善于体察情感。"}
NO_INSTRUCTIONS: Instructions = MappingProxyType({})
_LEFT_OUT = {"visual": "audio", "audio": "video"}  # what a request about one branch does not name
# in the order of the reasoning
_WORDS = {
    "en": {"text": "words", "video": "face", "audio": "voice"},
    "zh": {"text": "话语", "video": "表情", "audio": "声音"},
}


def clues(modalities: Collection[str], language: str) -> list[str]:
    """The words for the modalities, in the order of the reasoning; English unless the language is "zh"."""
    words = _WORDS.get(language, _WORDS["en"])
    return [word for modality, word in words.items() if modality in modalities]


def task(modalities: Collection[str], language: str) -> str:
    """The first clause of every request."""
    words = clues(modalities, language)
    if language == "zh":
        return (f"根据{'、'.join(words)}" if words else "") + "判断说话人的情感"
    return "Judge the speaker's sentiment" + (f" from {', '.join(words)}" if words else "")


def outline(modalities: Collection[str], language: str) -> list[str]:
    """What the reasoning goes through: each modality, then how they combine."""
    combined, reasons = ("综合", "理由") if language == "zh" else ("combined", "reasons")
    words = clues(modalities, language)
    return [*words, combined] if len(words) > 1 else words or [reasons]


def messages(
    format: AnswerFormat,
    clip_text: str,
    language: str,
    has_video: bool,
    has_audio: bool,
    spell: Callable[[str], str] = lambda text: text,
    asks: str = "both",
    instructions: Instructions = NO_INSTRUCTIONS,
) -> list[dict]:
    """One system and one user message.

    The user's content holds {"type": "video"} and {"type": "audio"} only where the clip has them, then one text: what
    the format asks and, if there is any, the utterance. The utterance is data from outside: it is put on one line, and
    `spell` writes it so that no special token of a policy is spelt.

    asks: "both", or "visual" or "audio" for a request about that branch alone, which names no other; the media are
    shown all the same. instructions: a user's own in place of what the format asks.
    """
    utterance = spell(" ".join(clip_text.replace("\x00", " ").split()))
    media = ["video"] * has_video + ["audio"] * has_audio
    named = [kind for kind in media if _LEFT_OUT.get(asks) != kind] + ["text"] * bool(utterance)
    own = instructions.get(language, {}).get(asks)
    form = format if asks == "both" else format.about(asks)
    text = form.ask(named, language) if own is None else own.replace(WORDS, utterance)
    if utterance and (own is None or WORDS not in own):
        text += f"\n话语：{utterance}" if language == "zh" else f"\nWords: {utterance}"
    content = [*({"type": kind} for kind in media), {"type": "text", "text": text}]
    system = SYSTEM.get(language, SYSTEM["en"])
    return [
        {"role": "system", "content": [{"type": "text", "text": system}]},
        {"role": "user", "content": content},
    ]
