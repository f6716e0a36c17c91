"""The main job: prepare, cold start, Hint-GRPO, evaluation, export, report.

    --config=configs/grpo.py                  the embedded world and tiny, minutes on two CPU cores
    --config=configs/grpo.py:msa_thinker      the papers' hyper-parameters; name --config.policy and --config.data
    --config=configs/grpo.py:c2f_thinker      the same method under its other name, on CMU-MOSI's score range
"""
from emsa_jax.jobs.presets import config_for


def get_config(preset: str = ""):
    """The resolved config of a preset."""
    return config_for(("prepare", "sft", "grpo", "evaluate", "export", "report"), preset)
