"""Two or more runs, --config.runs="('runs/off','runs/hint')", on one page, --config.out=compare.html."""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.settings.job_options import CompareOptions


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/compare.py has no presets, and so no {preset!r}")
    return to_config_dict(CompareOptions())
