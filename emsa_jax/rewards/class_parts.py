"""The rewards of one answer that names a class of sentiment and concepts (CH-CEMS, section 4.3)."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from emsa_jax.answers.concept_reader import CONTRADICTS, REPEATED, ParsedConcepts
from emsa_jax.answers.concepts import Truth
from emsa_jax.errors import InputError
from emsa_jax.rewards.reward_options import RewardOptions


def accuracy_reward(sentiment: str | None, true: str, classes: Sequence[str], partial_credit: float = 0.0) -> float:
    """1 for the true class, `partial_credit` for one next to it in `classes`, else 0; 0 for an unreadable one."""
    if sentiment is None:
        return 0.0
    steps = abs(classes.index(sentiment) - classes.index(true))
    return 1.0 if steps == 0 else partial_credit if steps == 1 else 0.0


def concept_reward(read: Mapping[str, str], true: Mapping[str, str], weights: Mapping[str, float]) -> float | None:
    """Equation 3: the (weighted) mean over the clip's known concepts of a match; None where none is known, or all
    that are weigh 0."""
    shares = {name: float(weights.get(name, 1.0)) for name in true}
    whole = sum(shares.values())
    return sum(shares[name] * (read.get(name) == true[name]) for name in true) / whole if whole else None


def class_parts(parsed: ParsedConcepts, truth: Truth | None, format, options: RewardOptions) -> dict[str, float | None]:
    """Each part, unweighted: format, accuracy and concept; consistency where asked for.

    truth: None for a clip without labels; then only the format applies. A format without concepts in its answers has
    no part for them.
    """
    with_concepts = format.name == "concepts"
    parts: dict[str, float | None] = {"format": float(parsed.well_formed), "accuracy": None}
    parts |= {"concept": None} if with_concepts else {}
    if truth is not None:
        parts["accuracy"] = accuracy_reward(
            parsed.sentiment, truth.sentiment, format.sentiments.known, options.partial_credit
        )
        if with_concepts:
            parts["concept"] = concept_reward(dict(parsed.concepts), dict(truth.concepts), options.concept_weights)
    if options.consistency == "penalty":
        parts["consistency"] = -float(disagrees(parsed))
    return parts


def disagrees(parsed: ParsedConcepts) -> bool:
    """The answer names a sentiment more than once, or a concept under two labels."""
    return any(note == REPEATED or note.endswith(CONTRADICTS) for note in parsed.notes)


def class_balance(sentiments: Iterable[str], classes: int) -> dict[str, float]:
    """Class -> clips / (classes * clips of it), as scikit-learn's "balanced" weights; classes without clips are left
    out. InputError if there are no clips."""
    counts = Counter(sentiments)
    if not counts:
        raise InputError("reward.class_balance: no clip of the training set has a label")
    return {name: counts.total() / (classes * count) for name, count in sorted(counts.items())}
