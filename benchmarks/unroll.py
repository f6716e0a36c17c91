"""Decoding with unrolled layers (as on CPUs and GPUs) against a loop over stacked ones (as on TPUs).

    python benchmarks/unroll.py [--layers 4,28] [--rounds 3] [--out benchmarks/results/unroll.md]

The policy and prompts of grpo_step.py's "text", 32 answers of 64 tokens; both forms in turns, the best of the rounds.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from grpo_step import policy_config, prompt_rows

from emsa_jax.policy import decoder
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.lora import init_adapter
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.rollout.rollout_options import MeasuredSampling
from emsa_jax.rollout.sampler import prefill, sample

PROMPTS, GROUP, NEW = 8, 4, 64


PLACES = {"loop": "tpu", "unrolled": "cpu"}  # where which form is taken


def compiled(form: str, config, *arguments):
    """(the program that decodes, seconds it took to compile)."""
    sampling = MeasuredSampling(max_completion_length=NEW, min_new_tokens=NEW)

    def decode(base, adapter, cache, noise):
        ids = jnp.arange(PROMPTS, dtype=jnp.int32)
        return sample(
            base,
            adapter,
            config,
            cache,
            options=sampling,
            group_size=GROUP,
            slots=NEW,
            noise=noise,
            prompt_ids=ids,
        ).tokens

    with mock.patch.object(decoder, "platform", lambda: PLACES[form]):
        begun = time.perf_counter()
        return jax.jit(decode).lower(*arguments).compile(), time.perf_counter() - begun


def measure(layers: int, rounds: int) -> dict[str, float]:
    """Tokens a second and seconds of compilation of both forms."""
    config = policy_config()
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, num_hidden_layers=layers))
    base = init_params(config, jax.random.key(0))
    adapter = init_adapter(config, LoraOptions(rank=16, alpha=32.0), jax.random.key(1))
    inputs = build_inputs(config, prompt_rows(config, "text", PROMPTS, 64, np.random.default_rng(0)))
    cache = jax.jit(lambda b, a, i: prefill(b, a, config, encode_prompts(b, a, config, i)))(base, adapter, inputs)
    arguments = (base, adapter, cache, np.zeros(3, np.int32))
    forms = {form: compiled(form, config, *arguments) for form in PLACES}
    tokens = {name: np.asarray(program(*arguments)) for name, (program, _) in forms.items()}
    assert (tokens["loop"] == tokens["unrolled"]).mean() > 0.95  # rounding may turn single draws
    best = dict.fromkeys(forms, float("inf"))
    for _ in range(rounds):
        for name, (program, _) in forms.items():
            begun = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            best[name] = min(best[name], time.perf_counter() - begun)
    count = PROMPTS * GROUP * NEW
    return (
        {"layers": layers}
        | {f"{name}_tok_s": round(count / best[name], 1) for name in forms}
        | {f"{name}_compile_s": round(seconds, 1) for name, (_, seconds) in forms.items()}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default="4,28")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [measure(int(layers), args.rounds) for layers in args.layers.split(",")]
    lines = [
        "# Layers in a loop or unrolled",
        "",
        "`python benchmarks/unroll.py`",
        "",
        "| layers | loop, tokens/s | unrolled, tokens/s | loop, s to compile | unrolled, s to compile |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['layers']} | {r['loop_tok_s']:,.0f} | {r['unrolled_tok_s']:,.0f} | {r['loop_compile_s']} | "
        f"{r['unrolled_compile_s']} |"
        for r in rows
    ]
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
