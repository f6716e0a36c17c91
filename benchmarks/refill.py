"""Would it pay to refill finished rows from the queue of prompts? Measured costs of a token, replayed.

    python benchmarks/refill.py [--out docs/refill.md] [--run runs/default] [--quick]

Answers to a prompt are sampled together; a row whose answer has ended idles until the last of its batch has. What is
compared, for 8 answers to each of 64 and of 16 prompts, 128 rows at a time:

    batches           prompts in their order; each batch runs until its longest answer has ended
    smaller batches   the same with fewer rows at a time
    sorted            batches of prompts in the order of their longest answer, by an oracle that knows it beforehand
    refill groups     a prompt whose 8 answers have all ended gives its 8 rows to the next prompt
    refill rows       a row whose answer has ended takes the next answer at once: the ideal

All but the first take the number of rows that is fastest on average. Seconds of a token are measured with the real
sampler at several numbers of rows (policy of grpo_step.py, prompts of 64 tokens) and interpolated. In batches the
answers' cache grows with them; one that is refilled holds answers of any age, so it has its full length always, and
each refill copies a prompt's cache into its place, at a measured cost. In favour of refilling, three things cost
nothing: rows that are left empty at the end, writing each row's key and value to a slot of its own, and finding out
what has ended. Prompts are computed beforehand in all cases.

Lengths are drawn, each on its own, 20 times over: near-constant (44 to 52 of at most 56), uniform (64 to 512), and
heavy-tailed (lognormal, median 100, sigma 1, cut off at 512). --run: of a run's rollouts instead, whole groups at a
time; its answers are encoded again, since they are kept as text. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from figures import table
from grpo_step import policy_config, prompt_rows
from schedules import Costs, compare

from emsa_jax.policy.decoder import empty_cache
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.rollout import sampler
from emsa_jax.rollout.rollout_options import MeasuredSampling

PROMPT, GROUP, DRAWS = 64, 8, 20
SCHEDULES = ("batches", "smaller batches", "sorted", "refill groups", "refill rows")
Draw = Callable[[np.random.Generator, int], np.ndarray]  # (generator, prompts) -> lengths [prompts, G]


def measure(slots: int, numbers: list[int], repeats: int) -> Costs:
    """Costs of sampling at most `slots` tokens."""
    config = policy_config()
    base = init_params(config, jax.random.key(0))
    adapter = init_adapter(config, LoraOptions(rank=16, alpha=32.0), jax.random.key(1))
    options = MeasuredSampling(max_completion_length=slots, min_new_tokens=slots)
    sizes = sampler.cache_sizes(slots)
    tokens = {size: [] for size in sizes}

    @jax.jit
    def prompt_cache(base, adapter, inputs):
        return sampler.prefill(base, adapter, config, encode_prompts(base, adapter, config, inputs))

    @jax.jit
    def draw(base, adapter, cache, limit):
        n = limit.shape[0]
        return sampler.sample(
            base,
            adapter,
            config,
            cache,
            options=options,
            group_size=GROUP,
            slots=slots,
            noise=np.zeros(3, np.int32),
            prompt_ids=jnp.arange(n, dtype=jnp.int32),
            limit=limit,
        ).length

    for rows in numbers:
        prompts = prompt_rows(config, "text", rows // GROUP, PROMPT, np.random.default_rng(0))
        cache, spent = prompt_cache(base, adapter, build_inputs(config, prompts)), [0.0]
        jax.block_until_ready(draw(base, adapter, cache, np.ones(len(prompts), np.int32)))  # compiles
        for size in sizes:  # up to where the cache grows: what is more than before is due to the larger one
            limit = np.full(len(prompts), size, np.int32)
            spent.append(best(lambda cache=cache, limit=limit: draw(base, adapter, cache, limit), repeats))
        for i, size in enumerate(sizes):
            tokens[size].append((spent[i + 1] - spent[i]) / (size - (sizes[i - 1] if i else 0)))
        print(
            f"{rows} rows: " + ", ".join(f"{1e3 * tokens[s][-1]:.2f} ms a token in {s} slots" for s in sizes),
            flush=True,
        )
    return Costs(numbers, tokens, copy_seconds(config, numbers[-1] // GROUP))


def copy_seconds(config, prompts: int, copies: int = 20) -> float:
    """Of one prompt's cache into one of so many, in place: the best of five rounds."""
    place = jax.jit(
        lambda cache, one, at: jax.tree.map(lambda t, o: jax.lax.dynamic_update_slice(t, o, (at, 0, 0, 0)), cache, one),
        donate_argnums=0,
    )
    one, cache = (empty_cache(config.text, n, PROMPT, jnp.float32) for n in (1, prompts))
    cache, times = jax.block_until_ready(place(cache, one, 0)), []
    for _ in range(5):
        begun = time.perf_counter()
        for i in range(copies):
            cache = place(cache, one, i % prompts)
        jax.block_until_ready(cache)
        times.append((time.perf_counter() - begun) / copies)
    return min(times)


def best(call: Callable, repeats: int) -> float:
    """Seconds of the best run."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begun)
    return min(times)


def distributions(longest: int) -> dict[str, tuple[int, Draw]]:
    """{name: (most tokens, draw)}; longest: 512, or less to try it out."""

    def tailed(rng, n):
        return np.clip(rng.lognormal(np.log(longest * 100 / 512), 1.0, (n, GROUP)), 1, longest).astype(int)

    return {
        "near-constant": (56, lambda rng, n: rng.integers(44, 53, (n, GROUP))),
        "uniform": (longest, lambda rng, n: rng.integers(longest // 8, longest + 1, (n, GROUP))),
        "heavy-tailed": (longest, tailed),
    }


def of_run(run: Path) -> tuple[int, Draw]:
    """(most tokens, draw) of a run's rollouts: the groups at the head of each step, which are written whatever came."""
    from tokenizers import Tokenizer

    most = json.loads((run / "config.json").read_text())["sampling"]["max_completion_length"]
    tokenizer = Tokenizer.from_file(str(run / "export" / "merged" / "tokenizer.json"))
    groups = []
    for path in sorted((run / "grpo" / "completions").glob("*.jsonl")):
        rows = map(json.loads, path.read_text().splitlines())
        for row in takewhile(lambda row: "completions" in row, rows):
            encoded = tokenizer.encode_batch(row["completions"], add_special_tokens=False)
            groups.append([min(len(answer.ids) + 1, most) for answer in encoded])
    pool = np.array(groups)
    print(
        f"{len(pool)} groups of {run}: {pool.mean():.1f} tokens an answer, {pool.max(1).mean():.1f} the longest of "
        f"{pool.shape[1]}, at most {most}"
    )
    return most, lambda rng, n: pool[rng.integers(0, len(pool), n)]


def page(found: dict, costs: dict[int, Costs], command: str, load: float) -> str:
    """Markdown: what a token costs, and how long each schedule takes."""
    lines = [
        "# Refilling finished rows",
        "",
        f"    {command}",
        "",
        f"{len(os.sched_getaffinity(0))} cores, device {jax.devices()[0].device_kind}, load average before it "
        f"{load}. Milliseconds of one token of every row:",
        "",
    ]
    for most, cost in costs.items():
        lines += table(
            [f"answers of at most {most}", *(f"{rows} rows" for rows in cost.rows)],
            [[f"cache of {slots} slots", *(1e3 * s for s in seconds)] for slots, seconds in cost.tokens.items()],
        )
    copies = ", ".join(f"{1e6 * cost.copy:.0f}" for cost in costs.values())
    lines += [f"Copying a prompt's cache: {copies} microseconds. Seconds, and relative to the batches:", ""]
    rows = [
        [
            name,
            f"{prompts} x {group}",
            f"{seconds['filled']:.0%}",
            *(f"{seconds[s]:.3g} ({seconds[s] / seconds['batches']:.2f})" for s in SCHEDULES),
        ]
        for (name, prompts, group), seconds in found.items()
    ]
    return "\n".join(lines + table(["lengths", "answers", "filled slots of batches", *SCHEDULES], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a Markdown file")
    parser.add_argument("--run", type=Path, help="workdir of a run whose lengths are taken")
    parser.add_argument("--rows", type=int, default=128, help="at a time")
    parser.add_argument("--quick", action="store_true", help="few rows and short answers: does it run?")
    args = parser.parse_args()
    load, rows = round(os.getloadavg()[0], 2), 16 if args.quick else args.rows
    numbers = [n for n in (8, 16, 32, 64, 128, 256, 512) if n < rows] + [rows]
    known = {f"run {args.run.name}": of_run(args.run)} if args.run else distributions(64 if args.quick else 512)
    costs, found = {}, {}
    for name, (most, draw) in known.items():
        if most not in costs:
            costs[most] = measure(most, numbers, 2 if args.quick else 3)
        for prompts in (rows // 2, rows // 8):
            draws = [draw(np.random.default_rng(seed), prompts) for seed in range(DRAWS)]
            found[name, prompts, draws[0].shape[1]] = compare(costs[most], draws, rows)
    text = page(found, costs, " ".join(["python benchmarks/refill.py", *sys.argv[1:]]), load)
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text)
    print(
        json.dumps(
            {
                "seconds": [
                    {"lengths": name, "prompts": prompts, "group": group, **seconds}
                    for (name, prompts, group), seconds in found.items()
                ],
                "costs": {
                    most: {"rows": cost.rows, "token": cost.tokens, "copy": cost.copy} for most, cost in costs.items()
                },
                "rows": rows,
                "load": load,
                "cpus": len(os.sched_getaffinity(0)),
                "device": jax.devices()[0].device_kind,
            }
        )
    )


if __name__ == "__main__":
    main()
