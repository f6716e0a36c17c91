"""What can be said of the answers: their classes, their concepts, and what counts as neutral. Imports no jax."""

from dataclasses import dataclass
from typing import Literal

from emsa_jax.errors import InputError


@dataclass(frozen=True)
class ConceptOptions:
    """classes: of sentiment. table: a JSON file of concepts in place of CH-CEMS' (see answers/concept_table.py)."""

    classes: Literal[3, 5] = 3
    table: str = ""


@dataclass(frozen=True)
class LabelOptions:
    """neutral_eps: scores within it of 0 are Neutral."""

    neutral_eps: float = 0.0

    def __post_init__(self) -> None:
        if self.neutral_eps < 0:
            raise InputError(f"neutral_eps must be at least 0, not {self.neutral_eps}")
