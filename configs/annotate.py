"""Votes of several people -> labels, agreement and a split: --config.votes=FILE.csv --config.out=DIR."""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.settings.job_options import AnnotateOptions


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/annotate.py has no presets, and so no {preset!r}")
    return to_config_dict(AnnotateOptions())
