"""Prompts as chat messages in the Hugging Face form."""

SYSTEM = {"en": "You read people's feelings.", "zh": "你善于体察情感。"}


def messages(format, clip_text: str, language: str, has_video: bool, has_audio: bool) -> list[dict]:
    """One system and one user message.

    The user's content holds {"type": "video"} and {"type": "audio"} only where the clip has them, then one
    text: the format's instruction and, if any, the utterance. The utterance is data from outside: it is put
    on one line and cannot spell a special token.
    """
    utterance = " ".join(clip_text.replace("\x00", " ").split()).replace("<|", "< |")
    text = format.instruction(language, has_video, has_audio, bool(utterance))
    if utterance:
        text += f"\n话语：{utterance}" if language == "zh" else f"\nWords: {utterance}"
    media = [{"type": kind} for kind, there in (("video", has_video), ("audio", has_audio)) if there]
    system = SYSTEM.get(language, SYSTEM["en"])
    return [
        {"role": "system", "content": [{"type": "text", "text": system}]},
        {"role": "user", "content": [*media, {"type": "text", "text": text}]},
    ]
