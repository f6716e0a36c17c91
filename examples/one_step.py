"""One step of GRPO with hints, from its parts: a tiny policy, four puppets and `jax.jit`; no run and no config.

    python examples/one_step.py

The policy is random, so every group fails. Half of its answers are then sampled again after the true polarity, which
pays, and the update makes such answers likelier.
"""

import tempfile
from functools import partial

import jax
import numpy as np

from emsa_jax.answers.dc import DC
from emsa_jax.data.mel import log_mel
from emsa_jax.data.puppets.render import FPS, render
from emsa_jax.data.puppets.world import DOMAINS, PuppetWorld, draw_world
from emsa_jax.data.records import Clip
from emsa_jax.learning.advantages import advantages
from emsa_jax.learning.grpo_update import GrpoBatch, grpo_update
from emsa_jax.learning.learning_options import AdvOptions, LossOptions, OptimizerOptions
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.rewards.score_answers import AnswerScorer
from emsa_jax.rollout.hints import apply_hints, loss_mask
from emsa_jax.rollout.prompts import Prompter, answer_ids, answer_texts
from emsa_jax.rollout.rollout_options import HintOptions, PromptOptions, SamplingOptions
from emsa_jax.rollout.sampler import HINT, ROLLOUT, prefill, sample

N, G, C = 4, 4, 32  # prompts, answers to each, tokens of an answer
EN = DOMAINS["en"]
FORMAT, SAMPLING, HINTS = DC((-EN.score_max, EN.score_max)), SamplingOptions(max_completion_length=C), HintOptions()


def main() -> None:
    clips = [clip_of(puppet) for puppet in draw_world(PuppetWorld(num_train=N, num_valid=1, num_test=1))[:N]]
    checkpoint, score = tiny_policy(clips), AnswerScorer(format=FORMAT)
    config, base = checkpoint.config, checkpoint.params
    optimizer = build_optimizer(OptimizerOptions(learning_rate=1e-3, schedule="constant"), total_steps=1)
    state = create_state(init_adapter(config, LoraOptions(), jax.random.key(0)), optimizer)
    prompter = Prompter(checkpoint, FORMAT, PromptOptions())
    inputs = build_inputs(config, [prompter.row(clip) for clip in clips])

    # the four programs of a step; parameters are arguments, so that no program holds them as constants
    encode = jax.jit(partial(encode_prompts, config=config))
    fill = jax.jit(lambda base, adapter, prompts: prefill(base, adapter, config, prompts))
    draw = jax.jit(partial(sample, config=config, options=SAMPLING, slots=C), static_argnames="group_size")
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

    # G answers to each prompt from one cache, and what they earn
    prompts = encode(base, state.params, inputs=inputs)
    cache, ids = fill(base, state.params, prompts), np.arange(N, dtype=np.int32)
    rollout = draw(base, state.params, prompts=cache, group_size=G, noise=np.array([0, 0, ROLLOUT]), prompt_ids=ids)
    table = score(clips, answer_texts(checkpoint, rollout, N), np.asarray(rollout.ended))

    # where no answer has the true polarity, half of the group is sampled again after it
    hard = np.flatnonzero((table.parts["polarity"] < 1).all(axis=1))
    hints = [answer_ids(checkpoint, FORMAT.hint(FORMAT.truth(clip), "polarity"), end=False) for clip in clips]
    lengths = np.array([len(hint) for hint in hints], np.int32)
    forced = {"forced": np.array([np.resize(hint, lengths.max()) for hint in hints]), "forced_length": lengths}
    noise = np.array([0, 0, HINT])
    hinted = draw(base, state.params, prompts=cache, group_size=G // 2, noise=noise, prompt_ids=ids, **forced)
    rollout = apply_hints(rollout, hinted, hard, hard)
    table = score(clips, answer_texts(checkpoint, rollout, N), rollout.ended)

    # the update learns from the drawn tokens; those that were forced are masked out
    adv = advantages(table.total, AdvOptions())
    examples = GrpoBatch(
        tokens=rollout.tokens,
        mask=loss_mask(rollout, HINTS),
        sampler_logps=rollout.logps,
        advantages=adv.values.astype(np.float32),
        weights=np.ones((N, G), np.float32),
        counted=np.ones((N, G), bool),
        zero_std=np.repeat(adv.zero_std[:, None], G, axis=1),
    )
    state, metrics = update(state, base, prompts, inputs, examples)
    print(f"reward {table.total.mean():.3f}, hard groups {len(hard)} of {N}")
    print(f"loss {metrics['loss']:.6f}, gradient norm {metrics['grad_norm']:.4f}")


def clip_of(puppet) -> Clip:
    """A puppet as the policy's input: frames, log-mel and words, with its true score."""
    frames, sound = render(puppet, EN)
    media = {"frames": frames, "frame_rate": float(FPS), "mel": log_mel(sound)}
    return Clip(id=puppet.id, text=puppet.text, score=puppet.score, split=puppet.split, language=EN.language, **media)


def tiny_policy(clips):
    """A random policy of 1.6 million parameters whose tokenizer knows the clips' words and the format's tags."""
    answers = [FORMAT.write(polarity, "1. words: fine.", 0.0) for polarity in ("Positive", "Neutral", "Negative")]
    with tempfile.TemporaryDirectory() as directory:
        make_tiny(f"{directory}/policy", [clip.text for clip in clips] + 3 * answers, seed=0, vocab_size=448)
        return open_checkpoint(f"{directory}/policy")


if __name__ == "__main__":
    main()
