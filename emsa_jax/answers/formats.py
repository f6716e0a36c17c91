"""The answer formats by name."""

from emsa_jax.answers.dc import DC
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.errors import InputError

FORMATS = {format.name: format for format in (DC, LabelOnly)}


def make_format(name: str, score_range: tuple[float, float]) -> DC | LabelOnly:
    """The format called `name` for scores within `score_range`; InputError for another name."""
    if name not in FORMATS:
        raise InputError(f"answer format {name!r} is unknown; choose one of {', '.join(FORMATS)}")
    return FORMATS[name](tuple(float(bound) for bound in score_range))
