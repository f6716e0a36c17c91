"""The classes that a score falls into: polarity by its sign, and the field's three and five classes of sentiment."""

import math

import numpy as np

POLARITIES = ("Positive", "Neutral", "Negative")
# from the most negative; the names of CH-CEMS, listings 3 and 4
SENTIMENTS = {
    3: ("Negative", "Neutral", "Positive"),
    5: ("Negative", "Weakly Negative", "Neutral", "Weakly Positive", "Positive"),
}
# CH-SIMS' bins, right-closed and compared in float32: -0.1 is negative, +0.1 neutral, +0.7 weakly positive
THREE_EDGES = np.array([-0.1, 0.1], np.float32)
FIVE_EDGES = np.array([-0.7, -0.1, 0.1, 0.7], np.float32)


def polarity_of(score: float, neutral_eps: float = 0.0) -> str:
    """The class of a score: "Neutral" iff |score| <= neutral_eps, else by sign. ValueError if not finite."""
    if not math.isfinite(score):
        raise ValueError(f"a score must be finite, not {score!r}")
    if abs(score) <= neutral_eps:
        return "Neutral"
    return "Positive" if score > 0 else "Negative"


def sentiment_of(score: float, classes: int, score_range: tuple[float, float] = (-1.0, 1.0)) -> str:
    """The class of a score in `score_range`, one of `SENTIMENTS[classes]` (classes 3 or 5).

    Scores of another range than [-1, 1] are carried into it first, each side of zero in proportion. ValueError if
    not finite."""
    if not math.isfinite(score):
        raise ValueError(f"a score must be finite, not {score!r}")
    score = float(score)
    end = abs(score_range[score > 0]) or 1.0
    at = np.float32(score if end == 1.0 else round(score / end, 6))  # 1.8 / 3 is 0.6, not a hair more
    return SENTIMENTS[classes][int(np.searchsorted(THREE_EDGES if classes == 3 else FIVE_EDGES, at))]


def polarity_of_sentiment(sentiment: str) -> str:
    """The polarity of a class of sentiment."""
    return sentiment.removeprefix("Weakly ")


def read_polarity(text: str) -> str | None:
    """One of `POLARITIES`, whatever its ASCII case and the white space around it; anything else is None."""
    text = text.strip()
    if len(text) > 8 or not text.isascii():
        return None
    text = text.capitalize()
    return text if text in POLARITIES else None
