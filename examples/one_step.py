"""Some steps of GRPO from their parts: a tiny policy, four puppets and `jax.jit`; no run and no config.

    python examples/one_step.py [STEPS]

The policy is random and writes no answer in form. It is paid for less: for naming the polarity of a clip and no other.
Its reward rises within ten steps, which take less than a minute on two cores.
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial

import jax
import numpy as np

from emsa_jax.answers.dc import DC
from emsa_jax.answers.labels import POLARITIES, polarity_of
from emsa_jax.data.mel import log_mel
from emsa_jax.data.puppets.render import FPS, render
from emsa_jax.data.puppets.world import DOMAINS, Puppet, PuppetWorld, draw_world
from emsa_jax.data.records import Clip
from emsa_jax.learning.advantages import advantages
from emsa_jax.learning.grpo_update import GrpoBatch, grpo_update
from emsa_jax.learning.learning_options import AdvOptions, LossOptions, OptimizerOptions
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.policy.checkpoint import Checkpoint, open_checkpoint
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rollout.hints import loss_mask
from emsa_jax.rollout.prompts import Prompter, answer_texts
from emsa_jax.rollout.rollout_options import HintOptions, PromptOptions, SamplingOptions
from emsa_jax.rollout.sampler import ROLLOUT, prefill, sample

N, G, C = 4, 8, 16  # prompts, answers to each, tokens of an answer
EN = DOMAINS["en"]
FORMAT, SAMPLING = DC((-EN.score_max, EN.score_max)), SamplingOptions(max_completion_length=C)


def main(steps: int = 10) -> None:
    clips = [clip_of(puppet) for puppet in draw_world(PuppetWorld(num_train=N, num_valid=1, num_test=1))[:N]]
    checkpoint = tiny_policy(clips)
    config, base = checkpoint.config, checkpoint.params
    score = AnswerScorer(format=FORMAT, plugins={"names_polarity": names_polarity})
    prompter = Prompter(checkpoint, FORMAT, PromptOptions())
    inputs = build_inputs(config, [prompter.row(clip) for clip in clips])
    optimizer = build_optimizer(OptimizerOptions(learning_rate=3e-3, schedule="constant"), total_steps=steps)
    state = create_state(init_adapter(config, LoraOptions(), jax.random.key(0)), optimizer)

    # the programs of a step; parameters are arguments, so that no program holds them as constants
    encode = jax.jit(partial(encode_prompts, config=config))
    fill = jax.jit(partial(prefill, config=config))
    draw = jax.jit(partial(sample, config=config, options=SAMPLING, slots=C, group_size=G))
    update = jax.jit(
        partial(
            grpo_update,
            config=config,
            options=LossOptions(kind="dapo", beta=0.0),
            optimizer=optimizer,
            temperature=SAMPLING.temperature,
            max_completion_length=C,
        )
    )
    for step in range(steps):
        prompts = encode(base, state.params, inputs=inputs)  # towers and embeddings, once per prompt
        cache = fill(base, state.params, prompts=prompts)  # once per prompt, not once per answer
        noise, ids = np.array([0, step, ROLLOUT]), np.arange(N, dtype=np.int32)
        rollout = draw(base, state.params, prompts=cache, noise=noise, prompt_ids=ids)
        table = score(clips, answer_texts(checkpoint, rollout, N), np.asarray(rollout.ended))
        adv = advantages(table.total, AdvOptions())
        examples = GrpoBatch(
            tokens=rollout.tokens,
            mask=loss_mask(rollout, HintOptions()),
            sampler_logps=rollout.logps,
            advantages=adv.values.astype(np.float32),
            weights=np.ones((N, G), np.float32),
            counted=np.ones((N, G), bool),
            zero_std=np.repeat(adv.zero_std[:, None], G, axis=1),
        )
        state, metrics = update(state, base, prompts, inputs, examples)
        print(f"step {step + 1}: reward {table.total.mean():.2f}, loss {metrics['loss']:.4f}")


def names_polarity(text: str, _: object, sample: Mapping) -> float:
    """1 for an answer that names the polarity of the clip and neither of the others, else 0."""
    return float([name for name in POLARITIES if name in text] == [polarity_of(sample["score"])])


def clip_of(puppet: Puppet) -> Clip:
    """A puppet as the policy's input: frames, log-mel and words, with its true score."""
    frames, sound = render(puppet, EN)
    media = {"frames": frames, "frame_rate": float(FPS), "mel": log_mel(sound)}
    return Clip(id=puppet.id, text=puppet.text, score=puppet.score, split=puppet.split, language=EN.language, **media)


def tiny_policy(clips: Sequence[Clip]) -> Checkpoint:
    """A random policy of 1.6 million parameters whose tokenizer knows the clips' words and the format's tags."""
    answers = [FORMAT.write(polarity, "1. words: fine.", 0.0) for polarity in POLARITIES]
    with tempfile.TemporaryDirectory() as directory:
        make_tiny(f"{directory}/policy", [clip.text for clip in clips] + 3 * answers, seed=0, vocab_size=448)
        return open_checkpoint(f"{directory}/policy")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
