"""Cue bridges of XEmoGPT out of clips and captions, --config.pairs=PAIRS.jsonl --config.encoder=DIR.

--config=configs/bridges.py:vecb    stage 1: frames through CLIP, captions through its text half
--config=configs/bridges.py:aecb    stage 2: sound through HuBERT, captions through --config.text_encoder=DIR
"""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.errors import InputError
from emsa_jax.training.bridge_options import BridgesOptions

PRESETS = {"vecb": BridgesOptions(), "aecb": BridgesOptions(kind="aecb", batch_size=448)}


def get_config(preset: str = "vecb"):
    """The resolved config of a stage."""
    if (preset or "vecb") not in PRESETS:
        raise InputError(f"configs/bridges.py has the presets {', '.join(PRESETS)}, and no {preset!r}")
    return to_config_dict(PRESETS[preset or "vecb"])
