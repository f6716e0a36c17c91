"""Raw clips and labels to records."""

from emsa_jax.settings.presets import config_for


def get_config(preset: str = ""):
    """The resolved config of a preset."""
    return config_for(("prepare",), preset)
