"""Options of the rewards: what is rewarded and how much. Imports no jax."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args, get_type_hints

from emsa_jax.config.fields import Options, option
from emsa_jax.errors import InputError
from emsa_jax.rewards.claim_parts import CLAIM_PARTS
from emsa_jax.rewards.parts import CONSISTENCY, PARTS

LARGEST = 1e6  # of a weight, and of what a plug-in pays: their products and sums stay finite in float32


@dataclass(frozen=True)
class RewardOptions(Options):
    """What is rewarded and how much."""

    group: ClassVar[str] = "reward"
    weights: dict[str, float] = option(
        dict.fromkeys(PARTS, 1.0),
        "weight of each part, as --config.reward.weights.format=2; one that is not named weighs 1. evidence (what the "
        "reasoning claims supports the answer) and cues (it is true of the clip) weigh 0 until they are given a weight",
        low=0,
        high=LARGEST,
        source="MSA-Thinker, equation 2, and CH-CEMS, section 4.3: 1 each",
    )
    score: Literal["written", "expected"] = option(
        "written",
        "the score that training rewards: as the answer has it, or expected, each score of a grid weighted by its "
        "probability after the answer's own reasoning",
        experimental=True,
    )
    score_gate: Literal["none", "polarity"] = option(
        "none",
        "none pays for the score as it is, polarity only beside the true polarity",
        source="MSA-Thinker, equation 5: none",
    )
    consistency: Literal["off", "penalty"] = option(
        "off",
        "penalty adds a part consistency, -1 where an answer contradicts itself and 0 elsewhere",
        experimental=True,
    )
    truncated: Literal["keep", "zero"] = option(
        "keep",
        "what an answer cut off at the length limit earns: what it says, or nothing above 0",
        source="TRL: keep",
        experimental=True,
    )
    gate_hinted: bool = option(
        False,
        "a hinted answer whose stated evidence contradicts the polarity that it was given earns nothing for what it "
        "was given, nor for its score",
        experimental=True,
    )
    plugins: tuple[str, ...] = option((), "parts of your own, each as module:function", source="docs/your_data.md")
    partial_credit: float = option(
        0.0, "what accuracy pays for a class next to the true one", low=0, below=1, experimental=True
    )
    class_balance: Literal["off", "inverse"] = option(
        "off",
        "inverse: accuracy is weighted by clips / (classes x clips of the true class) of the training set, so that "
        "every class counts as much as any other",
        experimental=True,
    )
    concept_weights: dict[str, float] = option(
        {},
        "weight of each concept in their mean, as --config.reward.concept_weights.tone=2; one that is not named "
        "weighs 1",
        low=0,
        high=LARGEST,
        experimental=True,
    )

    encoder: str = option(
        "",
        "a directory of a sentence encoder, by which cue_f1 compares the cues of descriptions, such as "
        "weights/all-minilm-l6-v2; empty: hashed n-grams, which know no synonyms",
        source="XEmoGPT, section III-E",
    )
    longest: int = option(
        120,
        "a description that is longer earns less of the part length, and nothing at twice this",
        unit="words",
        low=1,
        high=10**5,
    )

    def __post_init__(self) -> None:
        for name, annotation in get_type_hints(type(self)).items():
            choices, value = get_args(annotation), getattr(self, name)
            if name in ("score", "score_gate", "consistency", "truncated", "class_balance") and value not in choices:
                raise InputError(f"reward.{name}: {value!r} is none of {', '.join(choices)}")
        known = (*PARTS, *CLAIM_PARTS, CONSISTENCY, *(spec.rpartition(":")[2] for spec in self.plugins))
        for name, weight in self.weights.items():
            if name not in known:
                raise InputError(f"reward.weights.{name}: no such reward; there are {', '.join(known)}")
            _check_weight(f"reward.weights.{name}", weight)
        for name, weight in self.concept_weights.items():
            _check_weight(f"reward.concept_weights.{name}", weight)
        super().__post_init__()

    def weight(self, name: str) -> float:
        """The weight of a part."""
        return float(self.weights.get(name, 0.0 if name in CLAIM_PARTS else 1.0))

    @property
    def claim_parts(self) -> tuple[str, ...]:
        """Those of `CLAIM_PARTS` that have a weight."""
        return tuple(name for name in CLAIM_PARTS if self.weight(name) > 0)


def _check_weight(name: str, weight: object) -> None:
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= LARGEST:
        raise InputError(f"{name}: must be a number from 0 to {LARGEST:g}, not {weight!r}")
