"""Whether a GRPO run would fit and how fast it might be, by compiling it for devices that are not here.

    --config=configs/plan.py --config.topology=v5e:4x4 --config.policy=qwen2_5_omni_7b
"""
from emsa_jax.config import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.jobs.plan import PlanOptions


def get_config(preset: str = ""):
    """The resolved config; there are no presets."""
    if preset:
        raise InputError(f"configs/plan.py has no presets, and so no {preset!r}")
    return to_config_dict(PlanOptions())
