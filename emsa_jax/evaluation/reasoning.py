"""Checks of the reasoning that need no model.

They notice reasoning that cannot be right (a score that denies the polarity, a voice never spoken of, the same
sentence for every clip). They cannot tell that one is.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from emsa_jax.answers.labels import polarity_of

# words that speak of a modality; English ones stand at the start of a word, Chinese ones anywhere
MENTIONS = {
    "text": (
        ("word", "said", "say", "text", "utter", "dialogue", "transcript", "sentence", "phrase", "wording"),
        ("话", "文本", "台词", "说", "词", "文字"),
    ),
    "video": (
        ("fac", "expression", "smil", "frown", "brow", "eye", "mouth", "gaze", "visual", "gesture", "posture"),
        ("表情", "面部", "画面", "视觉", "眉", "嘴", "眼", "脸", "笑"),
    ),
    "audio": (
        ("voice", "tone", "pitch", "volume", "speech", "vocal", "audio", "tempo", "loud", "intonation"),
        ("声音", "语气", "语调", "音调", "语速", "音量", "嗓"),
    ),
}
_PATTERNS = {
    name: re.compile(rf"\b(?:{'|'.join(english)})|{'|'.join(chinese)}", re.IGNORECASE)
    for name, (english, chinese) in MENTIONS.items()
}
_WORD = re.compile(r"[一-鿿]|[^\W_]+")  # a Chinese character, or letters and digits of other scripts


def reasoning_checks(rows: Sequence[Mapping], neutral_eps: float = 0.0) -> dict[str, object]:
    """Fractions over predictions with "polarity", "score", "think" and "shown", the modalities that the policy was
    given.

    read: answers with reasoning. sign_agrees: of answers with polarity and score, where the score's sign is that of the
    polarity. mentions: modality -> of the reasoning about clips with that modality, the fraction that speaks of it.
    all_mentioned: the fraction of the reasoning that speaks of all modalities that were given. words: mean length.
    repetition: mean fraction of repeated three-word sequences within a text. copied: the fraction whose reasoning is
    another clip's, word for word. concepts: name -> of the answers to clips with that label, the fraction that gives it
    ("concepts" and "target_concepts" of a row). None where there is nothing to check.
    """
    both = [row for row in rows if row["polarity"] is not None and row["score"] is not None]
    reasoned = [row for row in rows if row["think"]]
    copies = Counter(row["think"] for row in reasoned)
    spoken = [{name for name, pattern in _PATTERNS.items() if pattern.search(row["think"])} for row in reasoned]
    pairs = [(set(row["shown"]), mentioned) for row, mentioned in zip(reasoned, spoken, strict=True)]
    return {
        "read": _fraction([bool(row["think"]) for row in rows]),
        "sign_agrees": _fraction([polarity_of(row["score"], neutral_eps) == row["polarity"] for row in both]),
        "mentions": {
            name: _fraction([name in mentioned for given, mentioned in pairs if name in given]) for name in MENTIONS
        },
        "all_mentioned": _fraction([given <= mentioned for given, mentioned in pairs]),
        "words": float(np.mean([len(_WORD.findall(row["think"])) for row in reasoned])) if reasoned else None,
        "repetition": float(np.mean([repetition(row["think"]) for row in reasoned])) if reasoned else None,
        "copied": _fraction([copies[row["think"]] > 1 for row in reasoned]),
        "concepts": _concepts(rows),
    }


def repetition(text: str, length: int = 3) -> float:
    """The share of a text's word sequences of this length that stood in it before; 0 for a short text."""
    words = [word.lower() for word in _WORD.findall(text)]
    grams = [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def ignored_hints(answers: Sequence[tuple[object, str]], neutral_eps: float = 0.0) -> float | None:
    """Of answers that began with a given polarity, the share that then denies it: by a second polarity tag, or by the
    sign of its score. answers: (parsed, the polarity that was given). None without any."""
    denied = []
    for parsed, given in answers:
        other = parsed.score is not None and polarity_of(parsed.score, neutral_eps) != given
        denied.append(parsed.polarity != given or other)
    return _fraction(denied)


def _concepts(rows: Sequence[Mapping]) -> dict[str, float | None]:
    pairs: dict[str, list[bool]] = {}
    for row in rows:
        said = row.get("concepts") or {}
        for name, truth in (row.get("target_concepts") or {}).items():
            if "concepts" in row:  # a format without concepts names none
                pairs.setdefault(name, []).append(str(said.get(name, "")).lower() == truth.lower())
    return {name: _fraction(right) for name, right in pairs.items()}


def _fraction(values: Sequence[bool]) -> float | None:
    return float(np.mean(values)) if len(values) else None
