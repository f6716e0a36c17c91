"""What a reward part is: one number for one answer, under a name by which answer formats list it.

A new part is one file with a function of this kind, and one line in rewards/parts.py.
"""

from collections.abc import Mapping
from typing import Protocol

from emsa_jax.answers.answer_format import Answer, AnswerFormat, Truth


class PartOptions(Protocol):
    """The options that parts read; `reward_options.RewardOptions` says what they mean."""

    @property
    def score_gate(self) -> str: ...

    @property
    def partial_credit(self) -> float: ...

    @property
    def concept_weights(self) -> Mapping[str, float]: ...

    @property
    def encoder(self) -> str: ...

    @property
    def longest(self) -> int: ...


class RewardPart(Protocol):
    """What a part pays for an answer, unweighted, or None where it does not apply. truth: None for a clip without a
    label."""

    def __call__(
        self, answer: Answer, truth: Truth | None, format: AnswerFormat, options: PartOptions
    ) -> float | None: ...
