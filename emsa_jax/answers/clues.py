"""The words for what there is to see, hear and read; an absent modality is never named."""

_WORDS = {"en": ("words", "face", "voice"), "zh": ("话语", "表情", "声音")}


def clues(language: str, has_video: bool, has_audio: bool, has_text: bool) -> list[str]:
    """Names of the present modalities, in the order of the reasoning; English unless the language is "zh"."""
    words = _WORDS.get(language, _WORDS["en"])
    return [word for word, there in zip(words, (has_text, has_video, has_audio), strict=True) if there]


def task(language: str, present: list[str]) -> str:
    """The first clause of every instruction."""
    if language == "zh":
        return (f"根据{'、'.join(present)}" if present else "") + "判断说话人的情感"
    return "Judge the speaker's sentiment" + (f" from {', '.join(present)}" if present else "")


def outline(language: str, present: list[str]) -> list[str]:
    """What the reasoning goes through: each modality, then how they combine."""
    combined, reasons = ("综合", "理由") if language == "zh" else ("combined", "reasons")
    return [*present, combined] if len(present) > 1 else present or [reasons]
