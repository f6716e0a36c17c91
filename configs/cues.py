"""EmoCue-360: predicted cues, --config.predictions=CUES.json, against gold ones, --config.gold=CUES.json."""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.cues.cues_options import CuesOptions
from emsa_jax.errors import InputError


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/cues.py has no presets, and so no {preset!r}")
    return to_config_dict(CuesOptions())
