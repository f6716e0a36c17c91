"""The main job: prepare, cold start, Hint-GRPO, evaluation, export, report.

--config=configs/grpo.py                  the embedded world and tiny, minutes on two CPU cores
--config=configs/grpo.py:msa_thinker      the papers' hyper-parameters; name --config.policy and --config.data
--config=configs/grpo.py:c2f_thinker      the same method under its other name, on CMU-MOSI's score range
--config=configs/grpo.py:cd_grpo          concepts as verifiable reasoning, as for CH-CEMS; :cd_grpo_hint with hints
--config=configs/grpo.py:puppets_concepts the same with hints on annotated puppets and tiny
--config=configs/grpo.py:puppets_xemogpt  XEmoGPT's stage 3 and GRPO on cues, on puppets; :xemogpt, the paper
--config=configs/grpo.py:omni_3b          Qwen2.5-Omni-3B on one GPU of 24 to 48 GB
--config=configs/grpo.py:smol             SmolLM2-135M and Whisper-base, on a CPU (docs/parts.md)
"""

from emsa_jax.settings.presets import config_for


def get_config(preset: str = ""):
    """The resolved config of a preset."""
    return config_for(("prepare", "sft", "grpo", "evaluate", "export", "report"), preset)
