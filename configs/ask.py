"""What does --config.policy=DIR say about --config.video, --config.audio and --config.text, or about --config.data."""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.serving.serving_options import AskOptions


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/ask.py has no presets, and so no {preset!r}")
    return to_config_dict(AskOptions())
