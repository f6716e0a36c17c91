"""Options of the answers: their classes, their concepts, and what counts as neutral. Imports no jax."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from emsa_jax.config.fields import Options, option


@dataclass(frozen=True)
class ConceptOptions(Options):
    """The classes and concepts of answers that name a class."""

    group: ClassVar[str] = "concepts"
    classes: Literal[3, 5] = option(3, "classes of sentiment", source="CH-CEMS, section 3.2")
    table: str = option(
        "",
        "a JSON file of concepts in place of those of CH-CEMS; docs/concepts.md has its form",
        source="docs/concepts.md",
    )


@dataclass(frozen=True)
class LabelOptions(Options):
    """How scores become labels."""

    group: ClassVar[str] = "labels"
    neutral_eps: float = option(0.0, "scores within this of 0 are Neutral", low=0, source="C2F-Thinker: only 0 itself")
