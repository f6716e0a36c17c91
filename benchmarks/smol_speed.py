"""A small policy on a CPU beside `transformers` + PEFT: a LoRA SFT update, a GRPO step, greedy answers, in turns.

    python benchmarks/smol_speed.py --policy weights/smol --text weights/smollm2-135m-instruct --out speed.jsonl \
        [--what sft,sft16,grpo,greedy] [--who ours,peer,trl] [--rounds 3] [--steps 2] [--peer-python PYTHON]

All take the same weights, the same batches of token ids and every core that is visible. Prompts have lengths as chats
about sentences have them (45 tokens and a logarithmically normal number of words), batches hold prompts of similar
length; we fill them up to one of the lengths that `data.length_buckets` chooses, the peers to the longest of the batch.
`peer` is a loop written by hand (peers/smol.py), `trl` TRL's GRPOTrainer (peers/smol_trl.py), which does `grpo` alone.

    sft     8 prompts, a score of 6 tokens each: forward, backward, AdamW
    sft16   the same with 16 prompts of 96 tokens
    grpo    4 prompts, 4 answers of 32 tokens: rollout, reference, update
    greedy  32 prompts in batches of at most 16, answers of 12 tokens

Each turn is a process of its own, whose first step, which compiles, is not counted; `start_s` are the seconds from its
beginning to the end of that step, `peak_gb` the most memory that it held at once. Every turn is a line of --out; what
is there is not measured again, so that the same command goes on after a stop. The last lines are ratios, a peer's
seconds by ours, of the best and of the median step of all turns: above 1, ours is faster.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

BEGUN, HERE = time.perf_counter(), Path(__file__).resolve().parent
WORK = {
    "sft": dict(prompts=8, group=1, new=6, batch=8),
    "sft16": dict(prompts=16, group=1, new=6, batch=16, tokens=96),
    "grpo": dict(prompts=4, group=4, new=32, batch=4),
    "greedy": dict(prompts=32, group=1, new=12, batch=16),
}
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def prompt_lengths(what: str, steps: int) -> np.ndarray:
    """Tokens of all prompts, sorted: what stands in a batch is alike, as batches of a bucket are."""
    count = WORK[what]["prompts"] * (steps + 1)
    if length := WORK[what].get("tokens"):
        return np.full(count, length)
    return np.sort(45 + np.random.default_rng(0).lognormal(2.6, 0.75, count).astype(int))


def batches(what: str, steps: int) -> list[list[tuple[list[list[int]], list[list[int]]]]]:
    """[step][batch] -> (prompts, answers) as token ids."""
    work, rng = WORK[what], np.random.default_rng(1)
    lengths = prompt_lengths(what, steps).reshape(-1, work["batch"])
    drawn = [
        (
            [rng.integers(100, 40_000, length).tolist() for length in some],
            rng.integers(100, 40_000, (len(some), work["new"])).tolist(),
        )
        for some in lengths[rng.permutation(len(lengths))]
    ]
    each = work["prompts"] // work["batch"]
    return [drawn[i * each : (i + 1) * each] for i in range(steps + 1)]


def measured(seconds: list[float]) -> str:
    """What a process prints of itself, as JSON. seconds: of all its steps, the first of which is not counted."""
    counted, peak = seconds[1:], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter() - BEGUN - sum(counted)
    return json.dumps({"seconds": counted, "start_s": round(start, 1), "peak_gb": round(peak * 1024 / 1e9, 2)})


def ours(what: str, policy: str, steps: int, remat: str) -> list[float]:
    """Seconds of each step."""
    import jax

    from emsa_jax.data.length_buckets import choose_buckets
    from emsa_jax.policy.checkpoint import open_checkpoint
    from emsa_jax.policy.inputs import InputShape, build_inputs
    from emsa_jax.policy.prompt_row import Row

    checkpoint, work = open_checkpoint(policy, "float32"), WORK[what]
    edges = np.array(choose_buckets(prompt_lengths(what, steps), work["batch"]))
    run = {"grpo": _grpo, "greedy": _greedy}.get(what, _sft)(checkpoint, work, remat)
    seconds = []
    for prompts in edges:  # every program is compiled before what is counted
        rows = [Row([5] * int(prompts))] * work["batch"]
        jax.block_until_ready(run(build_inputs(checkpoint.config, rows), [[5] * work["new"]] * work["batch"], 0))
    for number, step in enumerate(batches(what, steps)):
        begun = time.perf_counter()
        for prompts, answers in step:
            bucket = int(edges[np.searchsorted(edges, max(map(len, prompts)))])
            inputs = build_inputs(checkpoint.config, [Row(ids) for ids in prompts], InputShape(bucket))
            jax.block_until_ready(run(inputs, answers, number))
        seconds.append(time.perf_counter() - begun)
    return seconds


def _state(checkpoint):
    import jax

    from emsa_jax.learning.learning_options import OptimizerOptions
    from emsa_jax.learning.optimizer import build_optimizer
    from emsa_jax.learning.state import create_state
    from emsa_jax.policy.lora import init_adapter
    from emsa_jax.policy.policy_options import LoraOptions

    optimizer = build_optimizer(OptimizerOptions(1e-4, schedule="constant"), 1000)
    adapter = init_adapter(checkpoint.config, LoraOptions(rank=16, alpha=32.0, targets=TARGETS), jax.random.key(1))
    return create_state(adapter, optimizer), optimizer


def _sft(checkpoint, work, remat):
    import jax

    from emsa_jax.learning.sft_update import SftBatch, sft_update

    state, optimizer = _state(checkpoint)
    update = jax.jit(
        functools.partial(sft_update, config=checkpoint.config, optimizer=optimizer, remat=remat), donate_argnums=0
    )

    def run(inputs, answers, number):
        nonlocal state
        tokens = np.array(answers, np.int32)[None]
        batch = SftBatch(jax.tree.map(lambda leaf: leaf[None], inputs), tokens, np.ones(tokens.shape, bool))
        state, logged = update(state, checkpoint.params, batch)
        return logged

    return run


def _greedy(checkpoint, work, remat):
    import jax

    from emsa_jax.rollout.answering import answer
    from emsa_jax.rollout.rollout_options import MeasuredSampling

    sampling = MeasuredSampling(temperature=0.0, max_completion_length=work["new"], min_new_tokens=work["new"])
    program = jax.jit(functools.partial(answer, config=checkpoint.config, sampling=sampling, group_size=1))
    ids = np.arange(work["batch"], dtype=np.int32)
    return lambda inputs, answers, number: program(checkpoint.params, None, inputs, np.zeros(3, np.int32), ids)


def _grpo(checkpoint, work, remat):
    from step_programs import examples, step_programs

    base, (state, optimizer) = checkpoint.params, _state(checkpoint)
    sizes = dict(group_size=work["group"], new=work["new"])
    programs = step_programs(checkpoint.config, optimizer, **sizes, remat=remat)

    def run(inputs, answers, number):
        nonlocal state
        prompts, cache = programs.begin(base, state.params, inputs)
        drawn = programs.decode(base, state.params, cache, np.array([0, number, 0], np.int32))
        batch = examples(drawn, programs.reference(base, prompts, drawn.tokens))
        state, logged = programs.update(state, base, prompts, inputs, batch)
        return logged

    return run


def in_turns(args) -> None:
    """Ours and the peers', A B A B, until --out has every turn; then the ratios."""
    out = Path(args.out)
    known = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    done = {(row["what"], row["turn"], row["who"]) for row in known}
    commands = {"ours": [sys.executable, __file__, "--policy", args.policy, "--remat", args.remat]}
    for who, script in (("peer", "smol.py"), ("trl", "smol_trl.py")):
        commands[who] = [args.peer_python, HERE / "peers" / script, "--text", args.text]
    turns = [(turn, what, who) for turn in range(args.rounds) for what in args.what.split(",") for who in commands]
    for turn, what, who in turns:
        if (what, turn, who) in done or who not in args.who.split(",") or who == "trl" and what != "grpo":
            continue
        command = [*commands[who], "--raw", what, "--steps", args.steps]
        ran = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if ran.returncode:
            sys.exit(f"{who} failed:\n{ran.stderr[-2000:]}")
        row = {"what": what, "turn": turn, "who": who, **json.loads(ran.stdout.splitlines()[-1])}
        row["load"] = round(os.getloadavg()[0], 1)
        with open(out, "a") as file:
            file.write(json.dumps(row) + "\n")
        known.append(row)
        print(json.dumps(row), flush=True)
    for what in dict.fromkeys(row["what"] for row in known):
        of = {who: [row for row in known if (row["what"], row["who"]) == (what, who)] for who in commands}
        print(json.dumps({"what": what} | compared({who: rows for who, rows in of.items() if rows})))


def compared(rows: dict[str, list[dict]]) -> dict:
    """who -> its turns at one thing, to the ratios of the best and of the median step, and what stands behind them."""
    seconds = {who: [s for turn in turns for s in turn["seconds"]] for who, turns in rows.items()}
    found: dict = {"steps": len(seconds["ours"])}
    for name, choose in (("best", min), ("median", statistics.median)):
        chosen = {who: choose(every) for who, every in seconds.items()}
        found[f"{name}_s"] = {who: round(value, 3) for who, value in chosen.items()}
        found[f"ratio_{name}"] = {
            who: round(value / chosen["ours"], 2) for who, value in chosen.items() if who != "ours"
        }
    for name in ("start_s", "peak_gb"):
        found[name] = {who: min(turn[name] for turn in turns) for who, turns in rows.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default="weights/smol", help="the policy's directory, for us")
    parser.add_argument("--text", default="weights/smollm2-135m-instruct", help="its text model's, for the peer")
    parser.add_argument("--what", default=",".join(WORK))
    parser.add_argument("--who", default="ours,peer", help="of ours, peer, trl")
    parser.add_argument("--remat", default="dots", help="of our updates; dots is what `auto` takes on a CPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="counted steps of a process")
    parser.add_argument("--out", default="smol_speed.jsonl")
    parser.add_argument(
        "--peer-python", default=sys.executable, help="of an environment with torch, transformers, peft"
    )
    parser.add_argument("--raw", choices=tuple(WORK), help="print the seconds of each counted step and nothing else")
    args = parser.parse_args()
    if args.raw:
        print(measured(ours(args.raw, args.policy, args.steps, args.remat)))
    else:
        in_turns(args)


if __name__ == "__main__":
    main()
