"""Scores as text: how one is written, the only spelling that is read back, and a grid of them; and in another range."""

import math

LONGEST = 16  # characters; float() of a very long digit string is slow, and no honest score is that long
GRID = 101  # scores of a grid at most
_DIGITS = frozenset("0123456789")


def write_score(score: float) -> str:
    """ "0.6", "-1.4", "0.0": one decimal, or two where one is not exact (0.25; 1/3 is written 0.33)."""
    if not math.isfinite(score):
        raise ValueError(f"a score must be finite, not {score!r}")
    digits = 1 if abs(round(score, 1) - score) < 1e-6 else 2
    return f"{round(score, digits) + 0.0:.{digits}f}"  # + 0.0: "-0.0" is no score


def score_grid(score_range: tuple[float, float]) -> tuple[str, ...]:
    """The scores of a range as text, rising: in steps of 0.1, or in the smallest of 1, 10, 100, ... with which they are
    at most `GRID`; zero is among them where it is in the range."""
    low, high = score_range
    step = 0.1
    while (high - low) / step > GRID - 1:
        step *= 10
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return tuple(write_score(i * step) for i in range(first, last + 1))


def read_score(text: str, score_range: tuple[float, float]) -> tuple[float | None, str]:
    """Reads a plain ASCII decimal, `[+-]?digits[.digits]`, white space around it allowed.

    Returns (score, "") or (None, why). nan, inf, exponents, hex, underscores, full-width or other digits, a
    Unicode minus, a bare ".5" or "5.", more than 16 characters, and values outside the range are all refused.
    """
    text = text.strip()
    body = text[1:] if text[:1] in ("+", "-") else text
    whole, dot, part = body.partition(".")
    if len(text) > LONGEST or not whole or (dot and not part) or not _DIGITS.issuperset(whole + part):
        return None, "score is not a plain decimal"
    score = float(text) + 0.0  # -0.0 becomes 0.0
    low, high = score_range
    return (score, "") if low <= score <= high else (None, "score is out of range")


def carry(score: float, source: tuple[float, float], target: tuple[float, float]) -> float:
    """A score of the range `source` in the range `target`: each side of zero in proportion, so that signs and zero
    stay."""
    side = score > 0
    return score / source[side] * target[side] if source[side] else 0.0
