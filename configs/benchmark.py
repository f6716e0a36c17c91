"""CH-CEMS' tables and figures: --config.runs="('NAME=runs/s0/evaluate/grpo/train',...)" --config.out=DIR."""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.settings.job_options import BenchmarkOptions


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/benchmark.py has no presets, and so no {preset!r}")
    return to_config_dict(BenchmarkOptions())
