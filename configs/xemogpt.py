"""XEmoGPT's stage 3: descriptions of cues, learned with bridges and projections in the policy (docs/bridges.md).

--config=configs/xemogpt.py:puppets_xemogpt    the embedded world, no weights
--config=configs/xemogpt.py:xemogpt            the paper's values; name --config.policy and --config.data
--config=configs/grpo.py:puppets_xemogpt       the same, then GRPO on the cues (:xemogpt alike)
"""

from emsa_jax.settings.presets import config_for


def get_config(preset: str = "xemogpt"):
    """The resolved config of a preset."""
    return config_for(("prepare", "sft", "evaluate", "export", "report"), preset or "xemogpt")
