"""Pretrained parts -> one policy directory.

--config=configs/assemble.py --config.text=DIR --config.audio=DIR [--config.vision=DIR] --config.out=DIR
"""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.settings.job_options import AssembleOptions


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/assemble.py has no presets, and so no {preset!r}")
    return to_config_dict(AssembleOptions())
