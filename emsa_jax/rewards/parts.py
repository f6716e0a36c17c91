"""The reward parts by name.

format, polarity, score: of answers that name a score (MSA-Thinker and C2F-Thinker, section III, equation 5).
format, accuracy, concept: of answers that name a class of sentiment (CH-CEMS, section 4.3).
format, accuracy, cue_f1, length: of descriptions of cues (rewards/cue_parts.py).
evidence, cues: of the claims that a reasoning makes (rewards/claim_parts.py), of all formats with reasoning, once they
have a weight.
Which of them apply, an answer format says (`AnswerFormat.parts`).
"""

from collections.abc import Mapping, Sequence

from emsa_jax.answers.answer_format import Answer, AnswerFormat, Truth
from emsa_jax.answers.labels import SENTIMENTS
from emsa_jax.rewards.cue_parts import cue_f1, length
from emsa_jax.rewards.reward_part import PartOptions, RewardPart

CONSISTENCY = "consistency"  # a part that an option switches on, for all formats


def well_formed(answer: Answer, truth: Truth | None, format: AnswerFormat, options: PartOptions) -> float:
    """1 for an answer in good form, else 0."""
    return float(answer.well_formed)


def polarity(answer: Answer, truth: Truth | None, format: AnswerFormat, options: PartOptions) -> float | None:
    """1 for the true polarity, else 0."""
    return None if truth is None else float(answer.polarity == truth.polarity)


def score(answer: Answer, truth: Truth | None, format: AnswerFormat, options: PartOptions) -> float | None:
    """`score_reward`, or 0 beside a wrong polarity where `score_gate` asks for the true one."""
    if truth is None:
        return None
    if options.score_gate == "polarity" and answer.polarity != truth.polarity:
        return 0.0
    return score_reward(answer.score, truth.score, format.score_range)


def accuracy(answer: Answer, truth: Truth | None, format: AnswerFormat, options: PartOptions) -> float | None:
    """`accuracy_reward` of the sentiment."""
    if truth is None:
        return None
    return accuracy_reward(answer.sentiment, truth.sentiment, SENTIMENTS[format.classes], options.partial_credit)


def concept(answer: Answer, truth: Truth | None, format: AnswerFormat, options: PartOptions) -> float | None:
    """`concept_reward` of the concepts; None where none is known of the clip."""
    if truth is None:
        return None
    return concept_reward(dict(answer.concepts), dict(truth.concepts), options.concept_weights)


def consistency(answer: Answer, truth: Truth | None, format: AnswerFormat, options: PartOptions) -> float:
    """-1 for an answer that contradicts itself, else 0."""
    return -float(format.contradicts(answer))


PARTS: dict[str, RewardPart] = {
    "format": well_formed,
    "polarity": polarity,
    "score": score,
    "accuracy": accuracy,
    "concept": concept,
    "cue_f1": cue_f1,
    "length": length,
}


def reward_parts(
    answer: Answer,
    truth: Truth | None,
    format: AnswerFormat,
    options: PartOptions,
    penalty: bool = False,
    expected: float | None = None,
) -> dict[str, float | None]:
    """Name -> what the part pays, of the parts that the format lists; with `penalty` the consistency too.

    expected: the score that the part `score` pays for, in place of the one that the answer has. None marks a part that
    does not apply, as those do that compare with the truth of a clip without a label."""
    found = {name: PARTS[name](answer, truth, format, options) for name in format.parts}
    if expected is not None and "score" in found:
        found["score"] = score(format.with_score(answer, expected), truth, format, options)
    return found | ({CONSISTENCY: consistency(answer, truth, format, options)} if penalty else {})


def score_reward(score: float | None, true_score: float, score_range: tuple[float, float]) -> float:
    """max(0, 1 - |score - true_score| / (high - low)); 0 for an unreadable score."""
    if score is None:
        return 0.0
    low, high = score_range
    return max(0.0, 1.0 - abs(score - true_score) / (high - low))


def accuracy_reward(sentiment: str | None, true: str, classes: Sequence[str], partial_credit: float = 0.0) -> float:
    """1 for the true class, `partial_credit` for one next to it in `classes`, else 0; 0 for an unreadable one."""
    if sentiment is None:
        return 0.0
    steps = abs(classes.index(sentiment) - classes.index(true))
    return 1.0 if steps == 0 else partial_credit if steps == 1 else 0.0


def concept_reward(read: Mapping[str, str], true: Mapping[str, str], weights: Mapping[str, float]) -> float | None:
    """Equation 3: the (weighted) mean over the clip's known concepts of a match; None where none is known, or all
    that are weigh 0."""
    weight = {name: float(weights.get(name, 1.0)) for name in true}
    whole = sum(weight.values())
    return sum(weight[name] * (read.get(name) == true[name]) for name in true) / whole if whole else None
