"""Serves --config.policy=DIR at --config.port, by the protocol of OpenAI."""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.serving.serving_options import ServeOptions


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/serve.py has no presets, and so no {preset!r}")
    return to_config_dict(ServeOptions())
