"""The answer formats by name."""

from emsa_jax.answers.answer_format import AnswerFormat
from emsa_jax.answers.answer_options import ConceptOptions
from emsa_jax.answers.class_only import ClassOnly
from emsa_jax.answers.concepts import Concepts
from emsa_jax.answers.dc import DC
from emsa_jax.answers.describe import Describe
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.answers.think_first import ThinkFirst
from emsa_jax.errors import InputError

FORMATS: dict[str, type[AnswerFormat]] = {
    DC.name: DC,
    ThinkFirst.name: ThinkFirst,
    LabelOnly.name: LabelOnly,
    Concepts.name: Concepts,
    ClassOnly.name: ClassOnly,
    Describe.name: Describe,
}
_CH_CEMS = ConceptOptions()


def format_class(name: str) -> type[AnswerFormat]:
    """The class of the format called `name`. Raises InputError for another name."""
    if name not in FORMATS:
        raise InputError(f"answer format {name!r} is unknown; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def label_parts() -> tuple[str, ...]:
    """The reward parts that say whether the label is right, of all formats."""
    return tuple(dict.fromkeys(format.label_part for format in FORMATS.values()))


def make_format(
    name: str, score_range: tuple[float, float], neutral_eps: float = 0.0, concepts: ConceptOptions = _CH_CEMS
) -> AnswerFormat:
    """The format called `name` for scores within `score_range`. Raises InputError for another name.

    neutral_eps: scores within it of 0 are Neutral. concepts: classes and table of the formats that name a class."""
    low, high = score_range
    return format_class(name).of((float(low), float(high)), neutral_eps, concepts)
