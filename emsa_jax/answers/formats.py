"""The answer formats by name."""

from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.class_only import ClassOnly
from emsa_jax.answers.concept_table import concept_table
from emsa_jax.answers.concepts import Concepts
from emsa_jax.answers.dc import DC
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.answers.think_first import ThinkFirst
from emsa_jax.errors import InputError

FORMATS = {format.name: format for format in (DC, ThinkFirst, LabelOnly, Concepts, ClassOnly)}
CLASS_FORMATS = (Concepts.name, ClassOnly.name)  # whose answers name a class, not a score
Format = DC | ThinkFirst | LabelOnly | Concepts | ClassOnly
_PAPER = ConceptOptions()


def make_format(
    name: str, score_range: tuple[float, float], neutral_eps: float = 0.0, concepts: ConceptOptions = _PAPER
) -> Format:
    """The format called `name` for scores within `score_range`; InputError for another name.

    neutral_eps: scores within it of 0 are Neutral, where the polarity is read off the score. concepts: classes and
    table of the formats that name a class."""
    if name not in FORMATS:
        raise InputError(f"answer format {name!r} is unknown; choose one of {', '.join(FORMATS)}")
    bounds = tuple(float(bound) for bound in score_range)
    if name in CLASS_FORMATS:
        return FORMATS[name](concepts.classes, concept_table(concepts), bounds)
    return LabelOnly(bounds, neutral_eps) if name == LabelOnly.name else FORMATS[name](bounds)
