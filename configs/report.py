"""The table and the page of what a run left in its --workdir."""

from emsa_jax.settings.presets import config_for


def get_config(preset: str = ""):
    """The resolved config of a preset."""
    return config_for(("report",), preset)
