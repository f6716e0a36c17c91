"""What an answer says, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emsa_jax.answers.answer_format import Answer
from emsa_jax.answers.labels import polarity_of_sentiment


def reading_of(answer: Answer) -> dict[str, Any]:
    """{"polarity", "score", "sentiment", "reasoning", "well_formed", "notes"} of an answer that was read; null for what
    it does not say. The polarity of one that names a class is that of the class."""
    polarity = answer.polarity
    if polarity is None and answer.sentiment is not None:
        polarity = polarity_of_sentiment(answer.sentiment)
    return {
        "polarity": polarity,
        "score": answer.score,
        "sentiment": answer.sentiment,
        "reasoning": answer.think,
        "well_formed": answer.well_formed,
        "notes": list(answer.notes),
    }


def told_reading(reading: Mapping[str, Any], score_range: tuple[float, float]) -> list[str]:
    """The lines that tell a person what was read."""
    low, high = score_range
    lines = [f"polarity   {reading['polarity'] or 'not said'}"]
    if reading["sentiment"]:
        lines.append(f"sentiment  {reading['sentiment']}")
    else:
        score = "not said" if reading["score"] is None else f"{reading['score']:g}"
        lines.append(f"score      {score}  (from {low:g} to {high:g})")
    lines.append(f"reasoning  {reading['reasoning'] or 'not said'}")
    if not reading["well_formed"]:
        lines.append(f"note: the answer does not have the form that was asked for: {'; '.join(reading['notes'])}")
    return lines
