"""What is rewarded and how much."""

from dataclasses import dataclass, field
from typing import Literal

from emsa_jax.errors import InputError
from emsa_jax.rewards.parts import CONSISTENCY, PARTS

LARGEST = 1e6  # of a weight, and of what a plug-in pays: their products and sums stay finite in float32


@dataclass(frozen=True)
class RewardOptions:
    """Weights and switches. Raises InputError naming the field for a bad value.

    weights: part name -> weight >= 0; a part that is not named weighs 1.
    score_gate: "none" pays for the score as it is (equation 5); "polarity" only beside the true polarity.
    consistency: "penalty" adds a part "consistency", -1 where the answer contradicts itself and 0 elsewhere.
    truncated: what an answer that was cut off at the length limit earns: "keep" pays for what it says, as TRL
      does; with "zero" no part is above 0, so that nothing is gained by not coming to an end.
    plugins: parts of your own, each as "module:function" (`plugins.load_plugins`).

    Of answers that name a class, beyond the paper:
    partial_credit: what `accuracy` pays for a class next to the true one (0 with the paper, below 1).
    class_balance: "inverse" multiplies the weight of `accuracy` by clips / (classes * clips of the true class) of the
      training set, so that every class counts as much as any other.
    concept_weights: concept -> weight >= 0 in the mean over concepts; one that is not named weighs 1.
    """

    weights: dict[str, float] = field(default_factory=lambda: dict.fromkeys(PARTS, 1.0))
    score_gate: Literal["none", "polarity"] = "none"
    consistency: Literal["off", "penalty"] = "off"
    truncated: Literal["keep", "zero"] = "keep"
    plugins: tuple[str, ...] = ()
    partial_credit: float = 0.0
    class_balance: Literal["off", "inverse"] = "off"
    concept_weights: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        for name, allowed in (
            ("score_gate", ("none", "polarity")),
            ("consistency", ("off", "penalty")),
            ("truncated", ("keep", "zero")),
            ("class_balance", ("off", "inverse")),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(f"reward.{name}: {getattr(self, name)!r} is none of {', '.join(allowed)}")
        known = (*PARTS, CONSISTENCY, *(spec.rpartition(":")[2] for spec in self.plugins))
        for name, weight in self.weights.items():
            if name not in known:
                raise InputError(f"reward.weights.{name}: no such reward; there are {', '.join(known)}")
            _check_weight(f"reward.weights.{name}", weight)
        for name, weight in self.concept_weights.items():
            _check_weight(f"reward.concept_weights.{name}", weight)
        if not 0 <= self.partial_credit < 1:
            raise InputError(f"reward.partial_credit: must be in [0, 1), not {self.partial_credit!r}")

    def weight(self, name: str) -> float:
        """The weight of a part."""
        return float(self.weights.get(name, 1.0))


def _check_weight(name: str, weight) -> None:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= LARGEST:
        raise InputError(f"{name}: must be a number from 0 to {LARGEST:g}, not {weight!r}")
