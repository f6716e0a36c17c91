"""One answer of several: what k sampled answers to a clip come to."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from emsa_jax.answers.labels import POLARITIES, polarity_of


class Verdict(NamedTuple):
    """polarity and score, None where unread; chosen: the answer that speaks for it."""

    polarity: str | None
    score: float | None
    chosen: int


def combine(parsed: Sequence, way: str, neutral_eps: float = 0.0) -> Verdict:
    """parsed: k answers, each with polarity and score.

    "greedy" and "expected": the first. "majority": the polarity that most of them name (of equals the one nearest the
    mean score, as `POLARITIES` orders them where that cannot tell) and the mean score of those that name it. "mean":
    the mean of all readable scores and its polarity. Unread answers have no vote; without a vote nothing is read.
    """
    if way in ("greedy", "expected"):
        return Verdict(parsed[0].polarity, parsed[0].score, 0)
    scores = [answer.score for answer in parsed if answer.score is not None]
    mean = float(np.mean(scores)) if scores else None
    if way == "mean":
        return Verdict(None if mean is None else polarity_of(mean, neutral_eps), mean, _nearest(parsed, mean))
    votes = Counter(answer.polarity for answer in parsed if answer.polarity in POLARITIES)
    if not votes:
        return Verdict(None, mean, 0)
    most = max(votes.values())
    leaders = [polarity for polarity in POLARITIES if votes[polarity] == most]
    leaning = None if mean is None else polarity_of(mean, neutral_eps)
    winner = leaning if leaning in leaders else leaders[0]
    agreed = [answer.score for answer in parsed if answer.polarity == winner and answer.score is not None]
    score = float(np.mean(agreed)) if agreed else None
    return Verdict(winner, score, _nearest(parsed, score, winner))


def _nearest(parsed: Sequence, score: float | None, polarity: str | None = None) -> int:
    """The first of the answers (of that polarity) whose score is nearest."""
    members = [i for i, answer in enumerate(parsed) if polarity in (None, answer.polarity)]
    known = [i for i in members if parsed[i].score is not None]
    if score is None or not known:
        return members[0] if members else 0
    return min(known, key=lambda i: abs(parsed[i].score - score))
