"""Named configurations: the embedded world, and the papers' hyper-parameters."""
from __future__ import annotations

from dataclasses import replace

from emsa_jax.config import to_config_dict
from emsa_jax.data.records import PrepareOptions
from emsa_jax.errors import InputError
from emsa_jax.jobs.options import Config, Dataset, GrpoOptions, SftOptions
from emsa_jax.learning.losses import LossOptions
from emsa_jax.learning.optimizer import OptimizerOptions
from emsa_jax.policy.lora import LoraOptions
from emsa_jax.rollout.draw import SamplingOptions


def embedded() -> Config:
    """Puppets and tiny: learning rates that suit a small policy without a pretrained base."""
    return Config(
        cross=Dataset("puppets:zh", asked_as="train"),
        prepare=PrepareOptions(num_frames=4, frame_format="raw"),
        lora=LoraOptions(rank=16, alpha=32.0),
        sampling=SamplingOptions(max_completion_length=56),
        loss=LossOptions(kind="grpo", beta=0.04),
        sft=SftOptions(trainable="all", epochs=200, batch_size=16, eval_every=16, patience=3, save_every=16,
                       remat="none", optimizer=OptimizerOptions(2e-3, warmup_steps=20, schedule="constant", b2=0.98,
                                                                weight_decay=0.05)),
        grpo=GrpoOptions(group_size=8, prompts_per_step=16, epochs=0, max_steps=120, micro_batches=2, save_every=20,
                         remat="none",
                         optimizer=OptimizerOptions(4e-3, warmup_steps=10, schedule="cosine", b2=0.95)))


def paper() -> Config:
    """MSA-Thinker and C2F-Thinker: G 4, beta 0.1, learning rates 1e-5; the loss as equation 6 prints it."""
    return Config(policy="", data="", loss=LossOptions(kind="seq_sum", beta=0.1))


PRESETS = {"": embedded, "msa_thinker": paper, "c2f_thinker": lambda: replace(paper(), score_range=(-3.0, 3.0))}


def config_for(stages: tuple[str, ...], preset: str):
    """The ConfigDict of a preset that runs `stages`. Raises: InputError naming the presets there are."""
    if preset not in PRESETS:
        raise InputError(f"there is no preset {preset!r}; choose one of {', '.join(filter(None, PRESETS))}, or none")
    return to_config_dict(replace(PRESETS[preset](), stages=stages))
