"""Reference and policy in one program, or in two one after the other: does sharing the pass over the base pay?

    python benchmarks/one_pass.py [--rounds 5] [--out benchmarks/results/one_pass.md]

The policy, prompts and answers of grpo_step.py's "text" and of its long prompt (4 of 1,500 tokens, G 8). "two" is what
GRPO does: log-probabilities of the reference first, then the update. "one" is a single program that does both, so that
the compiler may read each weight once for both. Both give the same adapter.
"""

from __future__ import annotations

import argparse
import functools
import time
from pathlib import Path

import jax
import numpy as np
from grpo_step import policy_config, prompt_rows

from emsa_jax.learning.grpo_update import GrpoBatch, grpo_update
from emsa_jax.learning.learning_options import LossOptions, OptimizerOptions
from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.learning.optimizer import build_optimizer
from emsa_jax.learning.state import create_state
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker import encode_prompts

SHAPES = {"8 prompts of 64 tokens, G 4": (8, 4, 64), "4 prompts of 1,500 tokens, G 8": (4, 8, 1500)}
NEW = 128


def programs(config, optimizer):
    """name -> (state, reference adapter, base, prompts, inputs, batch) -> state."""
    update = functools.partial(
        grpo_update,
        config=config,
        options=LossOptions("grpo", beta=0.04),
        optimizer=optimizer,
        temperature=1.0,
        max_completion_length=NEW,
    )
    judge = jax.jit(lambda reference, base, *of: group_logprobs(base, reference, config, *of)[0])
    learn = jax.jit(lambda *a: update(*a)[0])

    def two(state, reference, base, prompts, inputs, batch):
        logps = judge(reference, base, prompts, batch.tokens)
        return learn(state, base, prompts, inputs, batch.replace(ref_logps=logps))

    @jax.jit
    def one(state, reference, base, prompts, inputs, batch):
        logps = group_logprobs(base, reference, config, prompts, batch.tokens)[0]
        return update(state, base, prompts, inputs, batch.replace(ref_logps=logps))[0]

    return {"two": two, "one": one}


def measure(prompts: int, group: int, length: int, rounds: int) -> dict[str, float]:
    """Best seconds of each form, in turns."""
    config, rng = policy_config(), np.random.default_rng(0)
    base = init_params(config, jax.random.key(0))
    adapters = [init_adapter(config, LoraOptions(rank=16, alpha=32.0), jax.random.key(i)) for i in (1, 2)]
    optimizer = build_optimizer(OptimizerOptions(1e-4, schedule="constant"), 10)
    state = create_state(adapters[0], optimizer)
    inputs = build_inputs(config, prompt_rows(config, "text", prompts, length, rng))
    encoded = jax.jit(lambda b, i: encode_prompts(b, None, config, i))(base, inputs)
    shape = (prompts, group, NEW)
    tokens, ones = rng.integers(32, 2048, shape).astype(np.int32), np.ones(shape, bool)
    adv = rng.standard_normal(shape[:2]).astype(np.float32)
    batch = GrpoBatch(
        tokens=tokens,
        mask=ones,
        sampler_logps=np.zeros(shape, np.float32),
        advantages=adv,
        weights=np.ones_like(adv),
        counted=adv > -9,
        zero_std=adv > 9,
    )
    best, results, forms = {}, {}, programs(config, optimizer)
    for turn in range(rounds + 1):  # the first compiles
        for name, form in forms.items():
            begun = time.perf_counter()
            results[name] = jax.block_until_ready(form(state, adapters[1], base, encoded, inputs, batch))
            seconds = time.perf_counter() - begun
            best[name] = min(best.get(name, np.inf), seconds) if turn else np.inf
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), results["one"].params, results["two"].params)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    lines = [
        "# Reference and policy: one program or two",
        "",
        "`python benchmarks/one_pass.py`",
        "",
        "| shape | two programs, s | one program, s | ratio |",
        "|---|---|---|---|",
    ]
    for name, shape in SHAPES.items():
        best = measure(*shape, args.rounds)
        lines.append(f"| {name} | {best['two']:.2f} | {best['one']:.2f} | {best['one'] / best['two']:.2f} |")
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
