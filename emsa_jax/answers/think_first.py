"""Think, then answer: the parts of a DC answer with the reasoning first, as plain chains of thought have it.

    <think>...</think>
    <polarity>Positive</polarity>
    <score>0.6</score>

It is read by the rules of `answers.dc`. An answer cannot begin with its polarity, so there is nothing to hint at.
"""

from dataclasses import dataclass
from typing import ClassVar

from emsa_jax.answers.answer_format import Truth, refuse_level
from emsa_jax.answers.dc import DC


@dataclass(frozen=True)
class ThinkFirst(DC):
    """The format for scores within `score_range`."""

    name: ClassVar[str] = "think_first"
    papers: ClassVar[tuple[str, ...]] = ("luo2026msathinker", "luo2026c2fthinker")
    levels: ClassVar[tuple[str, ...]] = ()
    label_first: ClassVar[bool] = False
    order: ClassVar[tuple[str, ...]] = ("think", "polarity", "score")

    def hint(self, truth: Truth, level: str) -> str:
        """There is none: what comes first is the reasoning."""
        refuse_level(level, self.levels)
