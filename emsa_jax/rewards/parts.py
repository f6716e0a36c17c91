"""The rewards of one answer (MSA-Thinker and C2F-Thinker, section III, equation 5)."""

from collections.abc import Mapping

from emsa_jax.answers.dc import Parsed
from emsa_jax.answers.labels import polarity_of
from emsa_jax.rewards.reward_options import RewardOptions


def score_reward(score: float | None, true_score: float, score_range: tuple[float, float]) -> float:
    """max(0, 1 - |score - true_score| / (high - low)); 0 for an unreadable score."""
    if score is None:
        return 0.0
    low, high = score_range
    return max(0.0, 1.0 - abs(score - true_score) / (high - low))


def contradicts(parsed: Parsed, neutral_eps: float = 0.0) -> bool:
    """The score's sign is not that of the polarity, or a second polarity tag takes the first one back."""
    if parsed.polarity is None or parsed.score is None:
        return "polarity is repeated" in parsed.notes
    return polarity_of(parsed.score, neutral_eps) != parsed.polarity


def reward_parts(
    parsed: Parsed,
    true_score: float | None,
    options: RewardOptions,
    score_range: tuple[float, float],
    neutral_eps: float = 0.0,
) -> dict[str, float | None]:
    """Each part, unweighted: format, polarity and score in [0, 1], consistency in [-1, 0] where asked for.

    None marks a part that does not apply: polarity and score of a clip without a true score.
    """
    parts: dict[str, float | None] = {"format": float(parsed.well_formed), "polarity": None, "score": None}
    if true_score is not None:
        right = parsed.polarity == polarity_of(true_score, neutral_eps)
        pays = right or options.score_gate == "none"
        parts["polarity"] = float(right)
        parts["score"] = score_reward(parsed.score, true_score, score_range) if pays else 0.0
    if options.consistency == "penalty":
        parts["consistency"] = -float(contradicts(parsed, neutral_eps))
    return parts


def total(parts: Mapping[str, float | None], options: RewardOptions, accuracy_factor: float = 1.0) -> float:
    """The weighted sum of the parts that apply; the weight of `accuracy` times a factor (the clip's class's)."""
    weights = {name: options.weight(name) * (accuracy_factor if name == "accuracy" else 1.0) for name in parts}
    return sum((weights[name] * value for name, value in parts.items() if value is not None), 0.0)
