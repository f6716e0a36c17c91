"""The answer formats by name."""

from emsa_jax.answers.dc import DC
from emsa_jax.answers.label_only import LabelOnly
from emsa_jax.answers.think_first import ThinkFirst
from emsa_jax.errors import InputError

FORMATS = {format.name: format for format in (DC, ThinkFirst, LabelOnly)}


def make_format(name: str, score_range: tuple[float, float], neutral_eps: float = 0.0) -> DC | LabelOnly:
    """The format called `name` for scores within `score_range`; InputError for another name.

    neutral_eps: scores within it of 0 are Neutral, where the polarity is read off the score."""
    if name not in FORMATS:
        raise InputError(f"answer format {name!r} is unknown; choose one of {', '.join(FORMATS)}")
    bounds = tuple(float(bound) for bound in score_range)
    return LabelOnly(bounds, neutral_eps) if name == LabelOnly.name else FORMATS[name](bounds)
