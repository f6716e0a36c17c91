"""Traces from a teacher for the clips of --config.data=DIR, into the record of --config.out=DIR.

--config=configs/distill.py           reasoning towards a class, as --config.format says
--config=configs/distill.py:emocue    EmoCue data (XEmoGPT, section III-D): cues of picture and sound from labels and
                                      descriptions, merged by --config.refine_model=NAME; also cues.jsonl
"""

from emsa_jax.config.edge import to_config_dict
from emsa_jax.distill.distill_options import DistillOptions
from emsa_jax.distill.teacher_options import FilterOptions
from emsa_jax.errors import InputError

PRESETS = {
    "": DistillOptions(),
    "emocue": DistillOptions(format="describe", refine=True, filter=FilterOptions(modalities=False)),
}


def get_config(preset: str = ""):
    """The resolved config of a preset."""
    if preset not in PRESETS:
        raise InputError(f"configs/distill.py has the preset emocue, and no {preset!r}")
    return to_config_dict(PRESETS[preset])
