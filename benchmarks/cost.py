"""Cost as the work grows: seconds of each phase of a GRPO step, and what it saves to run a prompt once for G answers.

    python benchmarks/cost.py --out docs/cost [--axis prompt|group|answers|hinted] [--quick]

The policy is the random one of grpo_step.py (hidden 256, 4 layers, vocabulary 2048, LoRA 16, float32). From 4 prompts
of 256 tokens with G = 8 answers of 128 forced tokens, one axis grows at a time. A hint samples a share of the groups
again from the same prompt cache, behind 8 given tokens, filled up to the sizes that a run compiles; where another axis
grows, it is one group of four.

Beside the update stands the same update with a prompt for each answer: N * G groups of one, with the same gradient.
The formula is emsa_jax/policy/flops.py. Both forms run in as few micro-batches as fit their temporary memory into
--memory GiB; one that would take longer than --longest seconds is left out. Seconds are the best of three runs, of
fewer once five seconds are spent; compilation is not in them.

DIR gets cost.md, plots, and cost.jsonl with what is finished: the same command goes on from there. Delete it to
measure anew, or with another --memory or --longest. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from cost_page import NAMES, PHASES, page, plots
from grpo_step import policy_config, prompt_rows

from emsa_jax.learning.advantages import advantages
from emsa_jax.learning.grpo_update import GrpoBatch, grpo_update
from emsa_jax.learning.learning_options import AdvOptions, LossOptions, OptimizerOptions
from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.policy.flops import group_flops
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.rollout import sampler
from emsa_jax.rollout.hints import compact, redraw_sizes
from emsa_jax.rollout.rollout_options import MeasuredSampling

GIVEN = 8  # tokens of a hint
USUAL_SHARE = 0.25  # of hinted groups, where another axis grows


@dataclass(frozen=True)
class Work:
    """One step's size: N prompts, tokens of each, G answers to each, tokens of each."""

    prompts: int = 4
    prompt: int = 256
    group: int = 8
    answers: int = 128


FULL = (
    Work(),
    {
        "prompt": (64, 256, 1024, 4096),
        "group": (2, 4, 8, 16, 32),
        "answers": (64, 128, 256, 512, 1024),
        "hinted": (0.0, 0.25, 0.5, 0.75, 1.0),
    },
)
QUICK = (Work(4, 16, 4, 16), {"prompt": (16, 32), "group": (2, 4), "answers": (16, 32), "hinted": (0.0, 0.5, 1.0)})


class Programs:
    """What a GRPO step runs, on a random policy."""

    def __init__(self) -> None:
        self.config = config = policy_config()
        self.base = init_params(config, jax.random.key(0))
        self.adapter = init_adapter(config, LoraOptions(rank=16, alpha=32.0), jax.random.key(1))
        self.optimizer = build_optimizer(OptimizerOptions(1e-4, schedule="constant"), 1)
        self.state = create_state(self.adapter, self.optimizer)
        self.encode = jax.jit(lambda base, inputs: encode_prompts(base, None, config, inputs))
        self.prefill = jax.jit(lambda base, adapter, prompts: sampler.prefill(base, adapter, config, prompts))
        self.draw = jax.jit(self._draw, static_argnames=("slots", "group"))
        self.redraw = jax.jit(self._redraw, static_argnames=("slots", "group"))
        self.reference = jax.jit(lambda base, prompts, tokens: group_logprobs(base, None, config, prompts, tokens)[0])

    def _draw(self, base, adapter, cache, rows, given, lengths, *, slots, group):
        options = MeasuredSampling(max_completion_length=slots, min_new_tokens=slots)
        noise = np.array([0, 0, sampler.ROLLOUT], np.int32)
        return sampler.sample(
            base,
            adapter,
            self.config,
            cache,
            options=options,
            group_size=group,
            slots=slots,
            noise=noise,
            prompt_ids=rows,
            forced=given,
            forced_length=lengths,
        )

    def _redraw(self, base, adapter, cache, rows, given, lengths, *, slots, group):
        return self._draw(base, adapter, cache.take(rows), rows, given, lengths, slots=slots, group=group)

    def update(self, prompts, inputs, batch: GrpoBatch, most_bytes: float):
        """(compiled update, micro-batches, bytes): in as few micro-batches as fit it into `most_bytes`."""
        groups, micro_batches = batch.tokens.shape[0], 1
        while True:
            update = functools.partial(
                grpo_update,
                config=self.config,
                options=LossOptions("grpo", beta=0.04),
                optimizer=self.optimizer,
                temperature=1.0,
                max_completion_length=batch.tokens.shape[2],
                micro_batches=micro_batches,
            )
            program = jax.jit(update).lower(self.state, self.base, prompts, inputs, batch).compile()
            needed = program.memory_analysis().temp_size_in_bytes
            if needed <= most_bytes or micro_batches == groups:
                return program, micro_batches, needed
            wanted = min(max(micro_batches * needed / most_bytes, micro_batches + 1), groups)
            micro_batches = next(m for m in range(2, groups + 1) if groups % m == 0 and m >= wanted)


def timed(call: Callable, compiled: bool = False):
    """(result, seconds of the best run). compiled: if not, the first run compiles and does not count."""
    if not compiled:
        jax.block_until_ready(call())
    times = []
    while len(times) < 3 and sum(times) < 5:
        begun = time.perf_counter()
        result = jax.block_until_ready(call())
        times.append(time.perf_counter() - begun)
    return result, min(times)


def measure_step(run: Programs, work: Work, most_bytes: float, longest: float) -> dict:
    """Seconds of all phases but the hint, and of the update with one prompt for each answer (None: too long)."""
    base, adapter, n, g, found = run.base, run.adapter, work.prompts, work.group, {}
    rows = prompt_rows(run.config, "text", n, work.prompt, np.random.default_rng(0))
    inputs = build_inputs(run.config, rows)
    prompts = run.encode(base, inputs)
    ids, none = np.arange(n, dtype=np.int32), np.zeros((n, 1), np.int32)
    cache, found["prefill"] = timed(lambda: run.prefill(base, adapter, prompts))
    answers, found["decode"] = timed(
        lambda: run.draw(base, adapter, cache, ids, none, none[:, 0], slots=work.answers, group=g)
    )
    assert (np.asarray(answers.length) == work.answers).all()
    reference, found["reference"] = timed(lambda: run.reference(base, prompts, answers.tokens))

    adv = advantages((np.asarray(answers.tokens) % 7).mean(-1), AdvOptions()).values.astype(np.float32)
    ones = np.ones((n, g), np.float32)
    batch = GrpoBatch(
        tokens=answers.tokens,
        mask=np.ones(answers.tokens.shape, bool),
        sampler_logps=answers.logps,
        ref_logps=reference,
        advantages=adv,
        weights=ones,
        counted=ones > 0,
        zero_std=ones < 0,
    )
    update, found["micro_batches"], found["bytes"] = run.update(prompts, inputs, batch, most_bytes)
    (_, logged), found["update"] = timed(lambda: update(run.state, base, prompts, inputs, batch), compiled=True)

    repeated = build_inputs(run.config, [row for row in rows for _ in range(g)])
    lengths = np.full((n, g), work.answers)
    found["predicted"] = float(
        group_flops(run.config, adapter, repeated, lengths.reshape(-1, 1)).update
        / group_flops(run.config, adapter, inputs, lengths).update
    )
    found |= {"unshared": None, "unshared_micro_batches": None, "unshared_bytes": None}
    if found["update"] * found["predicted"] > longest:
        return found
    prompts = jax.tree.map(lambda t: jnp.repeat(t, g, axis=0), prompts)
    batch = jax.tree.map(lambda t: t.reshape(n * g, 1, *t.shape[2:]), batch)
    update, found["unshared_micro_batches"], found["unshared_bytes"] = run.update(prompts, repeated, batch, most_bytes)
    (_, same), found["unshared"] = timed(lambda: update(run.state, base, prompts, repeated, batch), compiled=True)
    assert np.isclose(logged["grad_norm"], same["grad_norm"], rtol=1e-3), (logged["grad_norm"], same["grad_norm"])
    return found


def measure_hint(run: Programs, work: Work, size: int) -> dict:
    """Seconds of sampling `size` groups again, some of which may be there to fill a compiled size."""
    rng = np.random.default_rng(0)
    inputs = build_inputs(run.config, prompt_rows(run.config, "text", work.prompts, work.prompt, rng))
    cache = run.prefill(run.base, run.adapter, run.encode(run.base, inputs))
    rows, lengths = np.arange(size, dtype=np.int32), np.full(size, GIVEN, np.int32)
    given = rng.integers(32, run.config.text.vocab_size, (size, GIVEN)).astype(np.int32)
    _, seconds = timed(
        lambda: run.redraw(run.base, run.adapter, cache, rows, given, lengths, slots=work.answers, group=work.group)
    )
    return {"hint": seconds}


class Finished:
    """What is measured, a line each in a file that outlives an interruption (path None: in memory only)."""

    def __init__(self, path: Path | None) -> None:
        self.path, self.load = path, round(os.getloadavg()[0], 2)
        lines = path.read_text().splitlines() if path and path.exists() else []
        self.rows = {(row["what"], Work(**row["work"])): row for row in map(json.loads, lines)}

    def get(self, what: str, work: Work, measure: Callable[[], dict]) -> dict:
        """The numbers of the file, or those measured now."""
        if (what, work) not in self.rows:
            row = {"what": what, "work": dataclasses.asdict(work), "load": self.load, "numbers": measure()}
            self.rows[what, work] = row
            print(json.dumps(row), flush=True)
            if self.path:
                with self.path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
        return self.rows[what, work]["numbers"]


def compiled_size(groups: int, prompts: int) -> int:
    """What so many hinted groups are filled up to."""
    return compact(np.arange(groups), prompts, 1, redraw_sizes(prompts)).size if groups else 0


def measure(
    axes: list[str], base: Work, values: dict, finished: Finished, memory: float, longest: float
) -> dict[str, list[dict]]:
    """{axis: [numbers for each of its values]}."""
    run = functools.cache(Programs)  # made only if something is to be measured

    def hint(work, size):
        what = f"hint, {size} groups"
        return finished.get(what, work, lambda: measure_hint(run(), work, size))["hint"] if size else 0.0

    found = {axis: [] for axis in axes}
    for axis, rows in found.items():
        for value in values[axis]:
            work = base if axis == "hinted" else dataclasses.replace(base, **{axis: value})
            numbers = finished.get("step", work, lambda work=work: measure_step(run(), work, memory * 2**30, longest))
            groups = round((value if axis == "hinted" else USUAL_SHARE) * work.prompts)
            size = compiled_size(groups, work.prompts)
            row = {"value": value, "groups": groups, "bucket": size, "hint": hint(work, size), **numbers}
            row["own_bucket"] = hint(work, groups) if axis == "hinted" else None
            row["total"] = sum(row[phase] for phase in PHASES)
            row["tok_s"] = work.prompts * work.group * work.answers / row["decode"]
            row["ratio"] = row["unshared"] and row["unshared"] / row["update"]
            rows.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="directory for cost.md, plots and cost.jsonl")
    parser.add_argument("--axis", choices=NAMES, help="only this one; cost.md then holds it alone")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--memory", type=float, default=6.0, help="GiB of temporary memory that an update may take")
    parser.add_argument("--longest", type=float, default=60.0, help="seconds that an unshared update may take")
    args = parser.parse_args()
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
    base, values = QUICK if args.quick else FULL
    finished = Finished(args.out / "cost.jsonl" if args.out else None)
    found = measure([args.axis] if args.axis else list(NAMES), base, values, finished, args.memory, args.longest)
    machine = {
        "load": max(row["load"] for row in finished.rows.values()),
        "cpus": len(os.sched_getaffinity(0)),
        "device": jax.devices()[0].device_kind,
        "versions": {"python": platform.python_version(), "jax": metadata.version("jax")},
    }
    text = page(
        found,
        [
            f"    {' '.join(['python benchmarks/cost.py', *sys.argv[1:]])}",
            "",
            f"{machine['cpus']} cores, device {machine['device']}, jax {metadata.version('jax')}, load average before "
            f"it {machine['load']}. A random policy (hidden 256, 4 layers, vocabulary 2048, LoRA 16, float32). Where "
            f"nothing else is said: {base.prompts} prompts of {base.prompt} tokens, G = {base.group}, answers of "
            f"{base.answers} tokens, {USUAL_SHARE:.0%} of the groups hinted. In seconds, the best of up to three runs.",
            "",
        ],
    )
    print(text)
    if args.out:
        (args.out / "cost.md").write_text(text)
        for name, svg in plots(found).items():
            (args.out / name).write_text(svg)
    print(json.dumps({"found": found, "base": dataclasses.asdict(base), **machine}))


if __name__ == "__main__":
    main()
