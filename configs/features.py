"""One of five feature-based networks, --config.network=mult, on a feature file, --config.data=FILE.pkl; or, as
configs/features.py:table, several of them and several files in one table."""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.features.feature_options import FeatureOptions


def get_config(preset: str = ""):
    """The resolved config. The preset table: all networks that need no BERT. How to train is config.preset."""
    if preset not in ("", "table"):
        raise InputError(f"configs/features.py has the preset table, and no {preset!r}")
    return to_config_dict(FeatureOptions(networks=("mult", "misa", "almt", "dlf") if preset else ()))
