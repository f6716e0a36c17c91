"""Does what --config.policy answers hang on its explanations, and these on the clips, --config.data=DIR of records."""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.settings.job_options import FaithfulOptions


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/faithful.py has no presets, and so no {preset!r}")
    return to_config_dict(FaithfulOptions())
