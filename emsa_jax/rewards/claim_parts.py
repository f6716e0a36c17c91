"""Rewards for explanations that are true: the evidence that an answer states supports it, and is what the clip shows.

Both are read from the reasoning (`answers.claims`), and neither applies unless its weight is above 0.
"""

from collections.abc import Collection

from emsa_jax.answers.answer_format import Answer, Truth
from emsa_jax.answers.claim_truth import claims_of, judged, true_claims
from emsa_jax.answers.claims import ABOUT, MODALITY_OF, falsely_agrees, not_shown, supported

EVIDENCE, CUES = "evidence", "cues"
CLAIM_PARTS = (EVIDENCE, CUES)
COST = 0.5  # of claiming an agreement that one's own claims deny, and of each absent modality that is spoken of


def evidence(answer: Answer, truth: Truth | None, shown: Collection[str]) -> float:
    """1 if the answer claims one sign of every modality that was shown and these support its polarity, else 0; less
    `COST` for a false agreement and for each modality that was not shown and is spoken of all the same.

    The 1 is paid beside the true polarity alone, where that is known: else a wrong answer would earn more by lying
    about the clip than by telling the truth. shown: of "text", "audio", "video"."""
    found = claims_of(answer)
    seen = found.only([about for about in ABOUT if MODALITY_OF[about] in shown])
    complete = all(found.sign(about) for about in ABOUT if MODALITY_OF[about] in shown)
    right = truth is None or answer.polarity == truth.polarity
    holds = complete and right and answer.polarity is not None and supported(seen) == answer.polarity
    return float(holds) - COST * (falsely_agrees(found) + len(not_shown(answer.think, found, shown)))


def cues(answer: Answer, truth: Truth | None, shown: Collection[str]) -> float | None:
    """(true claims - false claims) / claims that are owed, at least -1; None where nothing is known of the clip."""
    owed = true_claims(truth.signs, shown) if truth else frozenset()
    if not owed:
        return None
    found = claims_of(answer)
    right, wrong, _ = judged(found, owed, not_shown(answer.think, found, shown))
    return max(-1.0, (right - wrong) / len(owed))


def contradicts_given(answer: Answer, polarity: str) -> bool:
    """Whether the evidence that an answer states supports another polarity than the one that it was given."""
    return supported(claims_of(answer)) not in (None, polarity)
