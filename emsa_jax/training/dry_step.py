"""One step of GRPO with a tiny policy and drawn inputs: whether encoding, sampling and an update work here at all."""

from __future__ import annotations

import tempfile
from functools import partial

import jax
import numpy as np

from emsa_jax.answers.formats import FORMATS
from emsa_jax.answers.labels import POLARITIES
from emsa_jax.data.records import Clip
from emsa_jax.learning.grpo_update import GrpoBatch, grpo_update
from emsa_jax.learning.learning_options import LossOptions, OptimizerOptions
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.rollout.hints import loss_mask
from emsa_jax.rollout.prompts import Prompter
from emsa_jax.rollout.rollout_options import HintOptions, PromptOptions, SamplingOptions
from emsa_jax.rollout.sampler import ROLLOUT, prefill, sample

PROMPTS, GROUP, TOKENS = 2, 2, 8


def dry_step() -> dict[str, float]:
    """The metrics of the step: "loss", "grad_norm" and what else an update measures. Compiles for the devices that are
    here; writes nothing but temporary files."""
    format, rng = FORMATS["dc"]((-1.0, 1.0)), np.random.default_rng(0)
    clips = [_clip(f"clip {i}", rng) for i in range(PROMPTS)]
    with tempfile.TemporaryDirectory() as directory:
        answers = [format.write(polarity, "1. words: fine.", 0.0) for polarity in POLARITIES]
        make_tiny(f"{directory}/policy", [clip.text for clip in clips] + 3 * answers, seed=0, vocab_size=448)
        checkpoint = open_checkpoint(f"{directory}/policy")
    config, base = checkpoint.config, checkpoint.params
    prompter, sampling = Prompter(checkpoint, format, PromptOptions()), SamplingOptions(max_completion_length=TOKENS)
    inputs = build_inputs(config, [prompter.row(clip) for clip in clips])
    optimizer = build_optimizer(OptimizerOptions(learning_rate=1e-3, schedule="constant"), total_steps=1)
    state = create_state(init_adapter(config, LoraOptions(rank=2, alpha=4.0), jax.random.key(0)), optimizer)
    prompts = jax.jit(partial(encode_prompts, config=config))(base, state.params, inputs=inputs)
    cache = jax.jit(partial(prefill, config=config))(base, state.params, prompts=prompts)
    draw = jax.jit(partial(sample, config=config, options=sampling, slots=TOKENS, group_size=GROUP))
    noise, ids = np.array([0, 0, ROLLOUT]), np.arange(PROMPTS, dtype=np.int32)
    rollout = draw(base, state.params, prompts=cache, noise=noise, prompt_ids=ids)
    batch = GrpoBatch(
        tokens=rollout.tokens,
        mask=loss_mask(rollout, HintOptions()),
        sampler_logps=rollout.logps,
        advantages=np.tile(np.array([1.0, -1.0], np.float32), (PROMPTS, 1)),
        weights=np.ones((PROMPTS, GROUP), np.float32),
        counted=np.ones((PROMPTS, GROUP), bool),
        zero_std=np.zeros((PROMPTS, GROUP), bool),
    )
    update = jax.jit(
        partial(
            grpo_update,
            config=config,
            options=LossOptions(kind="dapo", beta=0.0),
            optimizer=optimizer,
            temperature=sampling.temperature,
            max_completion_length=TOKENS,
        )
    )
    _, metrics = update(state, base, prompts, inputs, batch)
    return {name: float(value) for name, value in metrics.items() if np.ndim(value) == 0}


def _clip(text: str, rng: np.random.Generator) -> Clip:
    """Two frames and a second of sound, drawn at random."""
    frames = rng.integers(0, 255, (2, 56, 56, 3), np.uint8)
    return Clip(
        id=text,
        text=text,
        score=0.0,
        split="train",
        language="en",
        frames=frames,
        frame_rate=2.0,
        mel=rng.standard_normal((100, 128)).astype(np.float32),
    )
