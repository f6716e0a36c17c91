"""Five annotators of puppets, with stated confusion, and the labels that their votes give."""

import numpy as np

from emsa_jax.data.annotation.votes import SENTIMENT, majority, score
from emsa_jax.data.puppets.concept_world import (
    EXPRESSIONS,
    STYLE_WEIGHTS,
    TONES,
    ConceptPuppet,
    ConceptWorld,
    pick,
)

ANNOTATORS = 5
FIELDS = ("tone", "expression", "speaking_style")


def votes_of(puppet: ConceptPuppet, options: ConceptWorld) -> dict[str, list[str]]:
    """Field -> the five votes, concepts as they stand after the last round.

    Sentiment: as many vote for the drawn level's sign as it has fifths, the others for 0; each errs by one class with
    probability `sentiment_confusion`. Concepts: each names what is shown or, with the concept's confusion, another
    label as frequent as it is at levels of the same sign or, half as often, of any; where no label has three votes,
    all five vote again, up to `rounds` times.
    """
    rng = np.random.default_rng((*puppet.key, 5))
    signed = np.where(rng.permutation(ANNOTATORS) < abs(puppet.drawn), np.sign(puppet.drawn), 0)
    errs = rng.random(ANNOTATORS) < options.sentiment_confusion
    signed = np.where(errs, np.where(signed == 0, rng.choice((-1, 1), ANNOTATORS), 0), signed)
    votes = {SENTIMENT: [str(int(vote)) for vote in signed]}
    sign = int(np.sign(puppet.drawn))
    for field, shown, confusion, near, far in (
        ("tone", puppet.tone, options.tone_confusion, TONES[sign], _any(TONES)),
        ("expression", puppet.expression, options.expression_confusion, EXPRESSIONS[sign], _any(EXPRESSIONS)),
        ("speaking_style", puppet.style, options.style_confusion, STYLE_WEIGHTS, STYLE_WEIGHTS),
    ):
        for _ in range(options.rounds):
            votes[field] = [_vote(shown, confusion, near, far, rng) for _ in range(ANNOTATORS)]
            if majority(votes[field]):
                break
    return votes


def labels_of(votes: dict[str, list[str]]) -> dict[str, str | float]:
    """ "label" and the concepts, "" without majority: as the annotation job makes them of the same votes."""
    return {"label": score(votes[SENTIMENT]), **{field: majority(votes[field]) or "" for field in FIELDS}}


def _vote(shown: str, confusion: float, near: dict, far: dict, rng) -> str:
    if rng.random() >= confusion:
        return shown
    weights = far if rng.random() < 1 / 3 else near
    return pick({name: weight for name, weight in weights.items() if name != shown}, rng)


def _any(tables: dict[int, dict[str, float]]) -> dict[str, float]:
    """The weights of all signs together, as frequent as CH-CEMS' polarities are."""
    merged: dict[str, float] = {}
    for sign, share in ((-1, 0.23), (0, 0.41), (1, 0.36)):
        for name, weight in tables[sign].items():
            merged[name] = merged.get(name, 0.0) + share * weight
    return merged
