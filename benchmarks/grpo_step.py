"""One GRPO step: rollout, reference, update, in seconds and tokens a second; ours, and beside a peer's.

    python benchmarks/grpo_step.py [--shape text|audio_video] [--steps 5]
    python benchmarks/grpo_step.py --shape text        --against trl          [--rounds 3] [--peer-python PYTHON]
    python benchmarks/grpo_step.py --shape audio_video --against transformers

A random policy (hidden 256, 4 layers, vocabulary 2048, LoRA 16, float32) writes 32 answers of 128 forced tokens:
"text" to 8 prompts of 64 tokens, 4 answers each; "audio_video" to 4 prompts of 364 tokens (8 s of sound, 16 frames of
112 pixels), 8 answers each. --prompts, --group, --new, --prompt-tokens and --bfloat16 change that. With --against, we
and the peer run in turns (A B A B), each in a process of its own, and ratios are of the best and of the median step
over all rounds; the peers' environment is made with

    python -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers/requirements-peers.txt

The first step of every process is not counted. The last line is one JSON object.
"""
from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = {"trl": "trl_text.py", "transformers": "transformers_audio_video.py"}
SHAPES = {"text": dict(prompts=8, group=4, prompt_tokens=64), "audio_video": dict(prompts=4, group=8, prompt_tokens=32)}
SECONDS_OF_SOUND, FRAMES, PIXELS = 8, 16, 112


def policy_config():
    """The peers' dimensions."""
    from emsa_jax.policy.config import AudioConfig, TextConfig, ThinkerConfig, VisionConfig

    return ThinkerConfig(
        text=TextConfig(vocab_size=2048, hidden_size=256, intermediate_size=768, num_hidden_layers=4,
                        num_attention_heads=4, num_key_value_heads=2, mrope_section=(8, 12, 12)),
        audio=AudioConfig(d_model=64, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=128, output_dim=256),
        vision=VisionConfig(depth=2, hidden_size=64, intermediate_size=128, num_heads=2, fullatt_block_indexes=(1,),
                            out_hidden_size=256),
        pad_token_id=0, eos_token_id=1, bos_token_id=2, user_token_id=3, audio_token_id=10, image_token_id=11,
        video_token_id=12, audio_start_token_id=13, audio_end_token_id=14, vision_start_token_id=15,
        vision_end_token_id=16)


def prompt_rows(config, shape: str, prompts: int, prompt_tokens: int, rng):
    """Random prompts, with sound and frames where the shape has them."""
    from emsa_jax.policy.inputs import Row, expand, patchify

    rows = []
    for _ in range(prompts):
        words = rng.integers(32, config.text.vocab_size, prompt_tokens).tolist()
        if shape == "text":
            rows.append(Row(words))
            continue
        mel = rng.standard_normal((100 * SECONDS_OF_SOUND, config.audio.num_mel_bins)).astype("float32")
        frames = rng.integers(0, 256, (FRAMES, PIXELS, PIXELS, 3), dtype="uint8")
        video = patchify(config, frames)
        ids = [config.vision_start_token_id, config.video_token_id, config.vision_end_token_id,
               config.audio_start_token_id, config.audio_token_id, config.audio_end_token_id, *words]
        rows.append(Row(expand(config, ids, [mel], (), [video]), [mel], [], [video]))
    return rows


def measure(args) -> list[dict[str, float]]:
    """Seconds of each phase, step by step, the first (which compiles) included."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from emsa_jax.learning.advantages import AdvOptions, advantages
    from emsa_jax.learning.grpo import GrpoBatch, grpo_update
    from emsa_jax.learning.logprobs import group_logprobs
    from emsa_jax.learning.losses import LossOptions
    from emsa_jax.learning.optimizer import OptimizerOptions, build_optimizer
    from emsa_jax.learning.state import create_state
    from emsa_jax.policy.inputs import build_inputs
    from emsa_jax.policy.lora import LoraOptions, init_adapter
    from emsa_jax.policy.table import init_params
    from emsa_jax.policy.thinker import encode_prompts
    from emsa_jax.rollout.draw import SamplingOptions
    from emsa_jax.rollout.sampler import prefill, sample

    config, rng = policy_config(), np.random.default_rng(0)
    dtype = jnp.bfloat16 if args.bfloat16 else jnp.float32
    base = jax.tree.map(lambda t: t.astype(dtype), init_params(config, jax.random.key(0)))
    optimizer = build_optimizer(OptimizerOptions(1e-4, schedule="constant"), args.steps + 1)
    state = create_state(init_adapter(config, LoraOptions(rank=16, alpha=32.0), jax.random.key(1)), optimizer)
    n, g, c = args.prompts, args.group, args.new
    sampling = SamplingOptions(max_completion_length=c, min_new_tokens=c, suppress_tokens=tuple(range(10, 17)))

    @jax.jit
    def rollout(base, adapter, inputs, noise):
        prompts = encode_prompts(base, adapter, config, inputs)
        ids, none = jnp.arange(n, dtype=jnp.int32), jnp.zeros((n, 1), jnp.int32)
        return prompts, sample(base, adapter, config, sampling, c, g, prefill(base, adapter, config, prompts), noise,
                               ids, none, jnp.zeros(n, jnp.int32), jnp.full(n, c, jnp.int32))

    reference = jax.jit(lambda base, prompts, tokens: group_logprobs(base, None, config, prompts, tokens)[0])
    update = jax.jit(functools.partial(grpo_update, config=config, options=LossOptions("grpo", beta=0.04),
                                       optimizer=optimizer, temperature=1.0, max_completion_length=c,
                                       micro_batches=args.micro_batches, remat=args.remat), donate_argnums=0)
    ones, per_answer = np.ones((n, g, c), bool), np.ones((n, g), np.float32)
    steps = []
    for step in range(args.steps + 1):
        rows, times = prompt_rows(config, args.shape, n, args.prompt_tokens, rng), {}

        def lap(name, result, times=times):
            nonlocal begun
            jax.block_until_ready(result)
            times[name], begun = time.perf_counter() - begun, time.perf_counter()
            return result

        begun = time.perf_counter()
        inputs = build_inputs(config, rows)
        prompts, answers = lap("rollout", rollout(base, state.params, inputs, np.array([0, step, 0], np.int32)))
        rewards = (np.asarray(answers.tokens) % 7).mean(-1)
        adv = advantages(rewards, AdvOptions())
        judged = lap("reference", reference(base, prompts, answers.tokens))
        batch = GrpoBatch(answers.tokens, ones, answers.logps, None, judged, adv.values.astype(np.float32), per_answer,
                          per_answer > 0, np.zeros((n, g), bool))
        state, logged = lap("update", update(state, base, prompts, inputs, batch))
        assert (np.asarray(answers.length) == c).all() and np.isfinite(logged["loss"])
        steps.append(times | {"step": sum(times.values())})
    return steps


def summary(steps: list[dict[str, float]], tokens: int) -> dict:
    """Best and median of what counts: seconds a step and sampled tokens a second."""
    result = {}
    for name, choose in (("best", min), ("median", statistics.median)):
        seconds = {key: choose([step[key] for step in steps]) for key in steps[0]}
        result[name] = {"rollout_tok_s": round(tokens / seconds["rollout"], 1), "step_s": round(seconds["step"], 3),
                        **{f"{key}_s": round(seconds[key], 3) for key in seconds if key != "step"}}
    return result


def in_turns(args) -> dict:
    """Ours and the peer's, A B A B, each in a new process; all counted steps of all rounds together."""
    sizes = ["--prompts", args.prompts, "--group", args.group, "--new", args.new, "--prompt-tokens", args.prompt_tokens,
             "--steps", args.steps]
    ours = [sys.executable, __file__, "--shape", args.shape, "--micro-batches", args.micro_batches, "--remat",
            args.remat, "--raw", *sizes]
    peer = [args.peer_python, HERE / "peers" / PEERS[args.against], *sizes]
    found, tokens = {"ours": [], "peer": []}, args.prompts * args.group * args.new
    for turn in range(args.rounds):
        for name, command in (("ours", ours), ("peer", peer)):
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
            found[name] += json.loads(done.stdout.splitlines()[-1])
            print(f"round {turn + 1}, {name}: {json.dumps(summary(found[name], tokens)['best'])}", flush=True)
    result = {name: summary(steps, tokens) for name, steps in found.items()}
    for what, key, ours_first in (("ratio_rollout", "rollout_tok_s", True), ("ratio_step", "step_s", False)):
        pair = ("ours", "peer") if ours_first else ("peer", "ours")
        result[what] = {kind: round(result[pair[0]][kind][key] / result[pair[1]][kind][key], 2)
                        for kind in ("best", "median")}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="text")
    parser.add_argument("--against", choices=PEERS)
    parser.add_argument("--steps", type=int, default=5, help="counted steps of a process")
    parser.add_argument("--rounds", type=int, default=3)
    for name in ("prompts", "group", "prompt-tokens"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--new", type=int, default=128, help="tokens of every answer")
    parser.add_argument("--micro-batches", type=int, default=1)
    parser.add_argument("--remat", default="none", choices=("none", "dots", "full"))
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--peer-python", default=".venv-peers/bin/python")
    parser.add_argument("--raw", action="store_true", help="print the seconds of each counted step and nothing else")
    args = parser.parse_args()
    for name, value in SHAPES[args.shape].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    load = os.getloadavg()[0]
    if args.raw:
        print(json.dumps(measure(args)[1:]))
        return
    result = in_turns(args) if args.against else {
        "ours": summary(measure(args)[1:], args.prompts * args.group * args.new)}
    print(json.dumps(result | {
        "shape": args.shape, "prompts": args.prompts, "group": args.group, "new": args.new,
        "prompt_tokens": args.prompt_tokens, "load": load, "cpus": len(os.sched_getaffinity(0)),
        "versions": {"python": platform.python_version(), "jax": metadata.version("jax")}}))


if __name__ == "__main__":
    main()
