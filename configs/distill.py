"""Traces from a teacher for the clips of --config.data=DIR, into the record of --config.out=DIR."""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.distill.distill_options import DistillOptions
from emsa_jax.errors import InputError


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/distill.py has no presets, and so no {preset!r}")
    return to_config_dict(DistillOptions())
