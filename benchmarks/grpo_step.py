"""One GRPO step: rollout, reference, update, in seconds and tokens a second; ours, and beside a peer's.

    python benchmarks/grpo_step.py [--shape text|audio_video] [--steps 5]
    python benchmarks/grpo_step.py --shape text        --against trl          [--rounds 3] [--peer-python PYTHON]
    python benchmarks/grpo_step.py --shape audio_video --against transformers

A random policy (hidden 256, 4 layers, vocabulary 2048, LoRA 16, float32) writes 32 answers of 128 forced tokens:
"text" to 8 prompts of 64 tokens, 4 answers each; "audio_video" to 4 prompts of 364 tokens (8 s of sound, 16 frames of
112 pixels), 8 answers each. --prompts, --group, --new, --prompt-tokens and --bfloat16 change that. With --against, we
and the peer run in turns (A B A B), each in a process of its own, and ratios are of the best and of the median step
over all rounds; the peers' environment is made with

    python -m venv .venv-peers && .venv-peers/bin/pip install -r benchmarks/peers/requirements-processes.txt

On an accelerator, the released size with random weights:

    python benchmarks/grpo_step.py --policy 7B --bfloat16 --prompts 8 --group 8 --prompt-tokens 1500 --new 512 \
        --micro-batches 8 --remat full [--against transformers]

What the guard of every update costs, `--guard`: steps whose update is watched and steps whose update is always taken,
in turns (A B A B) in one process, half of --steps each; and the optimizer alone with it and without it (`alone_ms`):

    python benchmarks/grpo_step.py --guard --steps 100 --new 64

The first step of every process is not counted. The last line is one JSON object. `utilisation` says how near we are to
what the device can do: `update` and `reference` in FLOPs that the formulas of policy/flops.py call useful, `decode` in
bytes that must be read for every token (weights once, keys and values of every prompt and answer). Peaks are the data
sheet's, or measured where the device is unknown.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
PEERS = {"trl": "trl_text.py", "transformers": "transformers_loop.py"}
SHAPES = {"text": dict(prompts=8, group=4, prompt_tokens=64), "audio_video": dict(prompts=4, group=8, prompt_tokens=32)}
SECONDS_OF_SOUND, FRAMES, PIXELS = 8, 16, 112
BANDWIDTH = {"H200": 4.8e12, "H100": 3.35e12, "A100": 2.04e12}  # bytes a second, by a part of the device's name


def policy_config(name: str = "small"):
    """The small policy that the peers build too, or a released size."""
    from emsa_jax.policy.thinker_config import AudioConfig, TextConfig, ThinkerConfig, VisionConfig, preset

    if name != "small":
        return preset(name)
    return ThinkerConfig(
        text=TextConfig(
            vocab_size=2048,
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            mrope_section=(8, 12, 12),
        ),
        audio=AudioConfig(d_model=64, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=128, output_dim=256),
        vision=VisionConfig(
            depth=2, hidden_size=64, intermediate_size=128, num_heads=2, fullatt_block_indexes=(1,), out_hidden_size=256
        ),
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        user_token_id=3,
        audio_token_id=10,
        image_token_id=11,
        video_token_id=12,
        audio_start_token_id=13,
        audio_end_token_id=14,
        vision_start_token_id=15,
        vision_end_token_id=16,
    )


def prompt_rows(config, shape: str, prompts: int, prompt_tokens: int, rng):
    """Random prompts, with sound and frames where the shape has them."""
    from emsa_jax.policy.prompt_row import Row, expand, patchify

    rows = []
    for _ in range(prompts):
        words = rng.integers(32, config.text.vocab_size, prompt_tokens).tolist()
        if shape == "text":
            rows.append(Row(words))
            continue
        mel = rng.standard_normal((100 * SECONDS_OF_SOUND, config.audio.num_mel_bins)).astype("float32")
        frames = rng.integers(0, 256, (FRAMES, PIXELS, PIXELS, 3), dtype="uint8")
        video = patchify(config, frames)
        ids = [
            config.vision_start_token_id,
            config.video_token_id,
            config.vision_end_token_id,
            config.audio_start_token_id,
            config.audio_token_id,
            config.audio_end_token_id,
            *words,
        ]
        rows.append(Row(expand(config, ids, [mel], (), [video]), [mel], [], [video]))
    return rows


def measure(args) -> tuple[list[dict[str, float]], dict[str, float]]:
    """(seconds of each phase, step by step, the first, which compiles, left out; how well the device was used)."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from step_programs import examples, step_programs

    from emsa_jax.learning.learning_options import OptimizerOptions
    from emsa_jax.learning.optimizer import build_optimizer
    from emsa_jax.learning.state import create_state
    from emsa_jax.policy.inputs import build_inputs
    from emsa_jax.policy.lora import init_adapter
    from emsa_jax.policy.parameter_table import init_params
    from emsa_jax.policy.policy_options import LoraOptions

    config, rng = policy_config(args.policy), np.random.default_rng(0)
    base = init_params(config, jax.random.key(0), jnp.bfloat16 if args.bfloat16 else jnp.float32)
    optimizer = build_optimizer(OptimizerOptions(1e-4, schedule="constant"), args.steps + 1)
    state = create_state(init_adapter(config, LoraOptions(rank=16, alpha=32.0), jax.random.key(1)), optimizer)
    n, g, c = args.prompts, args.group, args.new
    sizes = dict(group_size=g, new=c, suppress_tokens=tuple(range(10, 17)))
    sizes |= dict(micro_batches=args.micro_batches, remat=args.remat)
    programs = step_programs(config, optimizer, **sizes)
    updates = [programs.update, *[step_programs(config, optimizer, **sizes).update] * args.guard]
    steps = []
    for step in range(args.steps + len(updates)):
        rows, times = prompt_rows(config, args.shape, n, args.prompt_tokens, rng), {}

        def lap(name, result, times=times):
            nonlocal begun
            jax.block_until_ready(result)
            times[name], begun = time.perf_counter() - begun, time.perf_counter()
            return result

        begun = time.perf_counter()
        inputs = build_inputs(config, rows)
        prompts, cache = lap("prefill", programs.begin(base, state.params, inputs))
        answers = lap("decode", programs.decode(base, state.params, cache, np.array([0, step, 0], np.int32)))
        ref_logps = lap("reference", programs.reference(base, prompts, answers.tokens))
        batch = examples(answers, ref_logps)
        with unguarded() if step == 1 and args.guard else contextlib.nullcontext():  # where it is traced
            state, logged = lap("update", updates[step % len(updates)](state, base, prompts, inputs, batch))
        assert (np.asarray(answers.length) == c).all() and np.isfinite(logged["loss"])
        steps.append(times | {"rollout": times["prefill"] + times["decode"], "step": sum(times.values())})
    counted = steps[len(updates) :]
    return counted, utilisation(config, base, state.params, inputs, n, g, c, counted)


@contextlib.contextmanager
def unguarded():
    """Inside, updates that are traced are always taken."""
    import optax

    from emsa_jax.learning import grpo_update
    from emsa_jax.learning.state import apply_gradients

    def taken(state, grads, optimizer, loss):
        return apply_gradients(state, grads, optimizer), {"grad_norm": optax.global_norm(grads)}

    with mock.patch.object(grpo_update, "guarded_update", taken):
        yield


def guard_alone(times: int = 100) -> dict[str, float]:
    """Milliseconds, the median, of an update from its gradients on, with the guard and without it, in turns."""
    import jax
    import jax.numpy as jnp

    from emsa_jax.learning import grpo_update
    from emsa_jax.learning.learning_options import OptimizerOptions
    from emsa_jax.learning.optimizer import build_optimizer
    from emsa_jax.learning.state import create_state
    from emsa_jax.policy.lora import init_adapter
    from emsa_jax.policy.policy_options import LoraOptions

    optimizer = build_optimizer(OptimizerOptions(1e-4, schedule="constant"), 2)
    adapter = init_adapter(policy_config(), LoraOptions(rank=16, alpha=32.0), jax.random.key(1))
    state, loss = create_state(adapter, optimizer), jnp.float32(1)
    updates, found = {}, {"with": [], "without": []}
    for name, way in (("with", contextlib.nullcontext), ("without", unguarded)):
        with way():
            function = grpo_update.guarded_update
            updates[name] = jax.jit(lambda s, g, f=function: f(s, g, optimizer, loss)).lower(state, adapter).compile()
    for _ in range(times):
        for name, update in updates.items():
            begun = time.perf_counter()
            jax.block_until_ready(update(state, adapter))
            found[name].append(time.perf_counter() - begun)
    return {name: round(1000 * statistics.median(seconds), 3) for name, seconds in found.items()}


def cost_of_guard(steps: list[dict[str, float]]) -> dict[str, float]:
    """What the guard adds, from steps that are watched and not in turns; `share` of a step's median without it, with
    the standard error of the mean difference of neighbours."""
    watched, plain = steps[0::2], steps[1::2]
    differences = [a["update"] - b["update"] for a, b in zip(watched, plain, strict=True)]
    whole = statistics.median(step["step"] for step in plain)
    update = {
        name: statistics.median(step["update"] for step in part)
        for name, part in (("with", watched), ("without", plain))
    }
    return {
        "steps_each": len(plain),
        "step_s": round(whole, 4),
        "update_s": {name: round(seconds, 4) for name, seconds in update.items()},
        "share_median": round((update["with"] - update["without"]) / whole, 4),
        "share_mean": round(statistics.mean(differences) / whole, 4),
        "share_error": round(statistics.stdev(differences) / len(differences) ** 0.5 / whole, 4),
    }


def utilisation(config, base, adapter, inputs, n: int, g: int, c: int, steps) -> dict[str, float]:
    """Shares of what the device can do, by the best step."""
    import jax
    import numpy as np

    from emsa_jax.policy.flops import group_flops
    from emsa_jax.runtime.hardware import peak_flops

    best = {name: min(step[name] for step in steps) for name in steps[0]}
    flops, peak, text = group_flops(config, adapter, inputs, np.full((n, g), c)), peak_flops(), config.text
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves([base["text"]["layers"], adapter]))
    width = base["text"]["embed_tokens"].dtype.itemsize
    weights += text.vocab_size * text.hidden_size * width
    slot = 2 * text.num_hidden_layers * text.num_key_value_heads * text.head_dim * width
    read = c * (weights + slot * (inputs.mask.sum() + n * g * c / 2))
    kind = jax.devices()[0].device_kind
    bandwidth = next((value for name, value in BANDWIDTH.items() if name in kind), None) or copied_a_second()
    return {
        "device": kind,
        "update": round(flops.update / best["update"] / peak, 3),
        "reference": round(flops.reference / best["reference"] / peak, 3),
        "decode": round(read / bandwidth / best["decode"], 3),
    }


def copied_a_second(size: int = 2**26) -> float:
    """Bytes a second that this device reads and writes when it negates a large array."""
    import jax
    import jax.numpy as jnp

    negate, values, seconds = jax.jit(jnp.negative), jnp.ones(size, jnp.float32), []
    for _ in range(4):
        begun = time.perf_counter()
        negate(values).block_until_ready()
        seconds.append(time.perf_counter() - begun)
    return 2 * values.nbytes / min(seconds)


def summary(steps: list[dict[str, float]], tokens: int) -> dict:
    """Best and median of what counts: seconds a step and sampled tokens a second."""
    result = {}
    for name, choose in (("best", min), ("median", statistics.median)):
        seconds = {key: choose([step[key] for step in steps]) for key in steps[0]}
        result[name] = {
            "rollout_tok_s": round(tokens / seconds["rollout"], 1),
            "step_s": round(seconds["step"], 3),
            **{f"{key}_s": round(seconds[key], 3) for key in seconds if key != "step"},
        }
    return result


def in_turns(args) -> dict:
    """Ours and the peer's, A B A B, each in a new process; all counted steps of all rounds together."""
    sizes = [
        "--prompts",
        args.prompts,
        "--group",
        args.group,
        "--new",
        args.new,
        "--prompt-tokens",
        args.prompt_tokens,
        "--steps",
        args.steps,
        "--policy",
        args.policy,
        "--shape",
        args.shape,
        *["--bfloat16"] * args.bfloat16,
    ]
    ours = [sys.executable, __file__, "--micro-batches", args.micro_batches, "--remat", args.remat, "--raw", *sizes]
    peer = [args.peer_python, HERE / "peers" / PEERS[args.against], "--remat", args.remat, *sizes]
    found, tokens, used = {"ours": [], "peer": []}, args.prompts * args.group * args.new, {}
    for turn in range(args.rounds):
        for name, command in (("ours", ours), ("peer", peer)):
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{name} failed:\n{done.stderr[-2000:]}")
            steps = json.loads(done.stdout.splitlines()[-1])
            if name == "ours":
                steps, used = steps
            found[name] += steps
            print(f"round {turn + 1}, {name}: {json.dumps(summary(found[name], tokens)['best'])}", flush=True)
    result = {name: summary(steps, tokens) for name, steps in found.items()}
    for what, key, ours_first in (("ratio_rollout", "rollout_tok_s", True), ("ratio_step", "step_s", False)):
        pair = ("ours", "peer") if ours_first else ("peer", "ours")
        result[what] = {
            kind: round(result[pair[0]][kind][key] / result[pair[1]][kind][key], 2) for kind in ("best", "median")
        }
    return result | {
        "samples_s": {name: round(args.prompts * args.group / result[name]["best"]["step_s"], 2) for name in found},
        "utilisation": used,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="text")
    parser.add_argument("--policy", choices=("small", "3B", "7B"), default="small")
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
    parser.add_argument("--guard", action="store_true", help="what the guard of every update costs")
    parser.add_argument("--raw", action="store_true", help="print the seconds of each counted step and nothing else")
    args = parser.parse_args()
    for name, value in SHAPES[args.shape].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    load = os.getloadavg()[0]
    if args.raw:
        print(json.dumps(measure(args)))
        return
    if args.against:
        result = in_turns(args)
    elif args.guard:
        result = {"guard": cost_of_guard(measure(args)[0]) | {"alone_ms": guard_alone()}}
    else:
        steps, used = measure(args)
        result = {"ours": summary(steps, args.prompts * args.group * args.new), "utilisation": used}
    print(
        json.dumps(
            result
            | {
                "policy": args.policy,
                "shape": args.shape,
                "prompts": args.prompts,
                "group": args.group,
                "new": args.new,
                "prompt_tokens": args.prompt_tokens,
                "load": load,
                "cpus": len(os.sched_getaffinity(0)),
                "versions": {"python": platform.python_version(), "jax": metadata.version("jax")},
            }
        )
    )


if __name__ == "__main__":
    main()
