"""What a directory of records holds, --config.data=DIR: a page to read, and counts."""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.settings.job_options import InspectOptions


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/inspect.py has no presets, and so no {preset!r}")
    return to_config_dict(InspectOptions())
