"""Interventions on an answer's reasoning: it is cut, one clause is turned round, or it is replaced by filler.

After the public tests of chains of thought (Lanham et al., 2023, "Measuring faithfulness in chain-of-thought"):
early answering, adding mistakes, filler tokens.
"""

import re

from emsa_jax.answers.claims import ABOUT, read_claims

_CLAUSE = re.compile(r"(?<=[.!?;。！？；])\s*(?=\S)")
_NUMBERED = re.compile(r"\d+[.)]$")
# what turns a clause round, for each thing that is spoken of: language -> sign -> clause
TURNED = {
    "en": {
        "words": {"positive": "words: wonderful.", "negative": "words: awful."},
        "face": {"positive": "face: clear smile.", "negative": "face: clear frown."},
        "voice": {"positive": "voice: rising, fast.", "negative": "voice: falling, slow."},
    },
    "zh": {
        "words": {"positive": "文字：太棒了。", "negative": "文字：太糟了。"},
        "face": {"positive": "表情：明显微笑。", "negative": "表情：明显撇嘴。"},
        "voice": {"positive": "声音：上升，快。", "negative": "声音：下降，慢。"},
    },
}
FILLER = {"en": "and so on", "zh": "等等"}
OPPOSITE = {"positive": "negative", "negative": "positive"}


def clauses(think: str) -> list[str]:
    """The sentences of a reasoning, each with the number that it begins with; joined by spaces they say the same."""
    found: list[str] = []
    for piece in filter(None, _CLAUSE.split(think.strip())):
        if found and _NUMBERED.fullmatch(found[-1]):
            found[-1] = f"{found[-1]} {piece}"
        else:
            found.append(piece)
    return found


def cuts(think: str) -> list[str]:
    """The reasoning up to each clause, from the first clause alone to the whole."""
    said = clauses(think)
    return [" ".join(said[: n + 1]) for n in range(len(said))]


def turned(think: str, about: str, language: str = "en") -> tuple[str, str] | None:
    """(the reasoning with what it says of words, face or voice turned round, the sign that it then claims); None where
    no clause claims one sign of it alone, or a neutral one. The clause's number stays."""
    said = clauses(think)
    for i, clause in enumerate(said):
        found = read_claims(clause)
        sign = found.sign(about)
        if sign in OPPOSITE and all(not found.signs(other) for other in ABOUT if other != about):
            number = re.match(r"(\d+[.)]\s*)?", clause)[0]
            false = number + TURNED.get(language, TURNED["en"])[about][OPPOSITE[sign]]
            return " ".join([*said[:i], false, *said[i + 1 :]]), OPPOSITE[sign]
    return None


def filler(think: str, language: str = "en") -> str:
    """Words that say nothing, about as long as the reasoning."""
    unit = FILLER.get(language, FILLER["en"])
    joint = "" if language == "zh" else " "
    return joint.join([unit] * max(1, round(len(think) / (len(unit) + len(joint)))))


def settles(scores: list[float], tolerance: float) -> float | None:
    """Where a score settles: the share of a reasoning's clauses after which it stays within `tolerance` of its end. 0:
    it is there before anything was said (`scores` begins with the score of no reasoning); None for less than two."""
    if len(scores) < 2:
        return None
    last = max((i for i, score in enumerate(scores) if abs(score - scores[-1]) > tolerance), default=-1)
    return (last + 1) / (len(scores) - 1)
