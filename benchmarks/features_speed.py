"""Training steps of MulT at the sizes of CH-SIMS: for one seed, for five in one program, and in MMSA's PyTorch code.

    python benchmarks/features_speed.py --peer PYTHON [--rounds 2] [--frames 400 20] [--seeds 1 5]

PYTHON: an interpreter with MMSA 2.2.1 and torch. Ours and theirs alternate, each in a process of its own; a step is one
batch of 16, forward and backward with dropout, gradients cut by value; one in eight moves the optimizer. Prints for
each number of audio frames the median milliseconds of a step and the utterances of all seeds together in a second.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

DIMS, BATCH = (768, 33, 709), 16


def lengths(frames: int) -> tuple[int, int, int]:
    """Steps of text, audio and vision: of SIMS at 400 audio frames, and no more than the audio has otherwise."""
    return min(39, frames), frames, min(55, frames)


def ours(frames: int, seeds: int, steps: int) -> dict:
    """Seconds of each step, after one epoch that compiles."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.flatten_util import ravel_pytree

    from emsa_jax.features.epochs import batch_order, new_state, programs
    from emsa_jax.features.networks import Batch, Network
    from emsa_jax.features.recipes import recipe_of

    recipe = recipe_of("mult", "sims", "mmsa", ("max_epochs=1000", "early_stop=1000"))
    network = Network("mult", recipe.options)
    rng = np.random.default_rng(0)

    def data(count: int) -> Batch:
        given = [rng.normal(size=(count, t, d)).astype(np.float32) for t, d in zip(lengths(frames), DIMS, strict=True)]
        mask, labels = np.ones(given[0].shape[:2], np.float32), rng.normal(size=(count, 1)).astype(np.float32)
        return jax.tree.map(jnp.asarray, Batch(given[0], mask, *given[1:], labels, np.ones(count, np.float32)))

    train, valid = data(steps * BATCH), data(1)
    trees = [network.init(jax.random.key(seed), train) for seed in range(seeds)]
    unravel = ravel_pytree(trees[0])[1]
    states = [new_state(ravel_pytree(tree)[0], recipe.protocol) for tree in trees]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    run = programs(network, recipe.protocol, unravel, np.ones(states.best.shape[1], np.float32))
    seconds = []
    for epoch in range(1, 3):
        orders, weights = zip(*(batch_order(s, epoch, len(train.labels), BATCH) for s in range(seeds)), strict=True)
        keys = jnp.stack([jax.random.fold_in(jax.random.key(seed), epoch) for seed in range(seeds)])
        begun = time.perf_counter()
        states, _ = run.epoch(states, train, valid, np.stack(orders), weights[0], np.full(seeds, np.nan), keys)
        jax.block_until_ready(states)
        seconds.append((time.perf_counter() - begun) / steps)
    return {"seconds": seconds[1:], "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Measures, or does one measurement of `ours` for the caller."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default="")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--frames", type=int, nargs="+", default=[400, 20])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--one", type=int, nargs=2, metavar=("FRAMES", "SEEDS"))
    arguments = parser.parse_args()
    if arguments.one:
        return print(json.dumps(ours(*arguments.one, arguments.steps)))
    found: dict[tuple[int, str], list[dict]] = {}
    script = Path(__file__)
    for frames in arguments.frames:
        for _ in range(arguments.rounds):
            for seeds in arguments.seeds:
                command = [
                    sys.executable,
                    str(script),
                    "--one",
                    str(frames),
                    str(seeds),
                    "--steps",
                    str(arguments.steps),
                ]
                found.setdefault((frames, f"ours, {seeds} seeds"), []).append(run(command))
            if arguments.peer:
                given = {"lengths": lengths(frames), "dims": DIMS, "batch": BATCH, "steps": arguments.steps}
                command = [arguments.peer, str(script.parent / "peers/mmsa_mult.py"), json.dumps(given)]
                found.setdefault((frames, "MMSA, 1 seeds"), []).append(run(command))
    print("| audio frames | | ms a step | utterances/s | peak MB |\n|---|---|---|---|---|")
    for (frames, who), runs in found.items():
        seconds = sorted(second for one in runs for second in one["seconds"])
        median = seconds[len(seconds) // 2]
        seeds = int(who.split()[1])
        peak = max(one["peak_mb"] for one in runs)
        print(f"| {frames} | {who} | {1000 * median:.1f} | {seeds * BATCH / median:.1f} | {peak:.0f} |")


def run(command: list[str]) -> dict:
    """The JSON on the last line of a process."""
    said = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
    return json.loads(said.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
