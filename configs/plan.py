"""Whether a GRPO run would fit and how fast it might be, by compiling it for devices that are not here.

--config=configs/plan.py --config.topology=v5e:4x4 --config.policy=qwen2_5_omni_7b
--config=configs/plan.py:msa_thinker ...      a run of that preset of configs/grpo.py
"""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.settings.presets import plan_options


def get_config(preset: str = ""):
    """The resolved config of a preset."""
    return to_config_dict(plan_options(preset))
