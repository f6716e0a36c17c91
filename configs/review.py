"""People look at the traces of --config.traces=DIR, on a local page or in a csv."""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.settings.job_options import ReviewOptions


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/review.py has no presets, and so no {preset!r}")
    return to_config_dict(ReviewOptions())
