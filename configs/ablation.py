"""Tables of the papers, over seeds, cell by cell.

    --config=configs/ablation.py:hint            zero-shot, SFT, SFT + RL with and without hint and hard samples
    --config=configs/ablation.py:hints           forms of help for hard samples, and their baselines
    --config=configs/ablation.py:cross_domain    train set x test set
    --config=configs/ablation.py:format          DC, reasoning first, score alone
    --config=configs/ablation.py:modality        text, audio, video and their pairs
    --config=configs/ablation.py:bench           all of them, on small puppets and few steps

These are of the embedded default; for your own data,
:hint@msa_thinker and the like take another preset of configs/grpo.py.
What all arms share is set as --config.base.FIELD=VALUE, fields as in configs/grpo.py.
"""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.settings.presets import ablation_options


def get_config(preset: str = ""):
    """The resolved config of a table."""
    return to_config_dict(ablation_options(preset))
