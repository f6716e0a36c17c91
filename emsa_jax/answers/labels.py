"""Polarity: the three classes that a score falls into."""

import math

POLARITIES = ("Positive", "Neutral", "Negative")


def polarity_of(score: float, neutral_eps: float = 0.0) -> str:
    """The class of a score: "Neutral" iff |score| <= neutral_eps, else by sign. ValueError if not finite."""
    if not math.isfinite(score):
        raise ValueError(f"a score must be finite, not {score!r}")
    if abs(score) <= neutral_eps:
        return "Neutral"
    return "Positive" if score > 0 else "Negative"


def read_polarity(text: str) -> str | None:
    """One of `POLARITIES`, whatever its ASCII case and the white space around it; anything else is None."""
    text = text.strip()
    if len(text) > 8 or not text.isascii():
        return None
    text = text.capitalize()
    return text if text in POLARITIES else None
