"""What is true of a clip, in the form of claims: from labels of each modality, concept labels, or annotated signs."""

import math
import re
from collections.abc import Collection, Mapping

from emsa_jax.answers import claim_terms as terms
from emsa_jax.answers.answer_format import Answer, Pairs
from emsa_jax.answers.claim_terms import FACE, MODALITY_OF, NEGATIVE, NEUTRAL, POSITIVE, VOICE, WORDS
from emsa_jax.answers.claims import ABOUT, AGREEMENT, YES, Claim, Claims, agreement, falsely_agrees, read_claims
from emsa_jax.answers.labels import polarity_of

UNIMODAL = {WORDS: "label_T", FACE: "label_V", VOICE: "label_A"}  # concepts of a clip: the score of one modality alone
SHOWING = {FACE: ("expression", "facial_expression"), VOICE: ("tone",)}  # concepts whose labels are feelings
STRONG_FROM = 0.5  # of the score range's end: what lies beyond is of a strong degree
_SIGNS = {
    POSITIVE: re.compile(rf"(?:{terms.GOOD[0]}|{terms.GOOD[1]})"),
    NEGATIVE: re.compile(rf"(?:{terms.BAD[0]}|{terms.FEELING[0]}|{terms.BAD[1]}|{terms.FEELING[1]})"),
    NEUTRAL: re.compile(rf"(?:casual|随意|{terms.CALM[0]}|{terms.CALM[1]})"),
}


def sign_of_label(label: str) -> str | None:
    """The sign of a feeling's name; None of one that may have either, as surprise."""
    label = label.strip().casefold()
    return next((sign for sign, pattern in _SIGNS.items() if pattern.fullmatch(label)), None)


def true_signs(concepts: Pairs, neutral_eps: float = 0.0) -> Pairs:
    """(words, face or voice; its sign) as far as the concepts of a clip tell.

    They may name the sign itself (`face=positive`), the score of one modality (CH-SIMS' label_T, label_A and label_V;
    within `neutral_eps` of 0 it is neutral), or a feeling (CH-CEMS' expression and tone)."""
    known = dict(concepts)
    found: dict[str, str | None] = {}
    for about in ABOUT:
        if known.get(about) in _SIGNS:
            found[about] = known[about]
        elif (score := _number(known.get(UNIMODAL[about]))) is not None:
            found[about] = polarity_of(score, neutral_eps).lower()
        else:
            found[about] = next((sign_of_label(known[name]) for name in SHOWING.get(about, ()) if name in known), None)
    return tuple((about, sign) for about, sign in found.items() if sign)


def true_claims(signs: Pairs, shown: Collection[str]) -> frozenset[Claim]:
    """What an answer about a clip owes: the known signs of the modalities ("text", "audio", "video") that were shown,
    and whether they agree, where that can be told."""
    seen = [about for about in ABOUT if MODALITY_OF[about] in shown]
    known = {about: sign for about, sign in signs if about in seen}
    together = agreement([known.get(about) for about in seen])
    return frozenset(known.items()) | ({(AGREEMENT, together)} if together else frozenset())


def judged(found: Claims, true: Collection[Claim], absent: Collection[str] = ()) -> tuple[int, int, int]:
    """(true claims, false ones, owed ones that are missing) of an answer. What nothing is known of is neither true nor
    false; what is claimed of something `absent` is false."""
    known = {about for about, _ in true}
    right = len(found.stated & set(true))
    wrong = sum(about in known and (about, sign) not in true for about, sign in found.stated)
    return right, wrong + len(absent), len(true) - right


def agreement_error(think: str | None, signs: Pairs) -> str:
    """What is wrong with the agreement that a reasoning claims, "" where nothing is known to be: that its own claims
    deny it, or the signs of the clip as far as they are known."""
    found = read_claims(think)
    if falsely_agrees(found):
        return "it claims an agreement that its own claims deny"
    true = agreement([dict(signs).get(about) for about in ABOUT])
    if true and found.sign(AGREEMENT) not in (None, true):
        return (
            "it claims a contradiction that is not there" if true == YES else "it claims an agreement that is not there"
        )
    return ""


def claims_of(answer: Answer) -> Claims:
    """What an answer claims: its reasoning, and the feelings that its concepts name."""
    found = read_claims(answer.think)
    marked = true_signs(tuple(pair for pair in answer.concepts if pair[0] in (*SHOWING[FACE], *SHOWING[VOICE])))
    return Claims(found.stated | frozenset(marked), found.deciding, found.finer) if marked else found


def true_degrees(concepts: Pairs, end: float) -> Mapping[str, str]:
    """ "words degree" and the like -> "weak" or "strong", of the modalities whose score is known and not 0. end: the
    score range's larger end."""
    scores = {about: _number(dict(concepts).get(name)) for about, name in UNIMODAL.items()}
    return {
        f"{about} degree": "strong" if abs(score) > STRONG_FROM * end else "weak"
        for about, score in scores.items()
        if score
    }


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
