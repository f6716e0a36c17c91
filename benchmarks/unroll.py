"""Decoding with layers written out (as it is) against a loop over stacked ones, at 4 and at 28 layers.

    python benchmarks/unroll.py [--layers 4,28] [--rounds 3] [--out benchmarks/results/unroll.md]

The policy and prompts of grpo_step.py's "text", 32 answers of 64 tokens; both forms in turns, the best of the rounds.
"""
from __future__ import annotations

import argparse
import contextlib
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
from emsa_jax.policy.attention import cached_part, combine
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.layers import stack_of
from emsa_jax.policy.lora import LoraOptions, init_adapter
from emsa_jax.policy.table import init_params
from emsa_jax.policy.thinker import encode_prompts
from emsa_jax.rollout.draw import SamplingOptions
from emsa_jax.rollout.sampler import prefill, sample

PROMPTS, GROUP, NEW = 8, 4, 64


def stacked(params, adapter, prompt):
    """In place of `decode_layers`: all layers in one."""
    return decoder.DecodeLayer(params["layers"], stack_of(adapter, "text"), prompt.k, prompt.v)


def stacked_cache(config, rows, slots, dtype):
    """In place of `empty_cache`."""
    shape = (config.num_hidden_layers, rows, config.num_key_value_heads, slots, config.head_dim)
    return decoder.Cache(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))


def looped_step(params, layers, scale, config, x, positions, slot, prompt_mask, own):
    """In place of `decode_step`: a loop over the layers."""
    n, g, d = x.shape
    cos, sin = (jnp.repeat(t, g, axis=0) for t in decoder._rope(config, positions[:, :, None], x.dtype))
    to_prompt = jnp.broadcast_to(prompt_mask[:, None, :], (n, g, prompt_mask.shape[1]))
    to_own = jnp.broadcast_to(jnp.arange(own.k.shape[3]) <= slot, (n * g, 1, own.k.shape[3]))

    def one(carry, xs):
        (x, own), (i, layer) = carry, xs
        q, k, v = decoder._qkv(layer.params, layer.adapter, scale, config, x, cos, sin)
        own = decoder.Cache(*(jax.lax.dynamic_update_slice(t, new.transpose(0, 2, 1, 3)[None], (i, 0, 0, slot, 0))
                              for t, new in ((own.k, k), (own.v, v))))
        parts = cached_part(q.reshape(n, g, *q.shape[2:]), layer.prompt_k, layer.prompt_v, to_prompt)
        parts = [t.reshape(n * g, 1, *t.shape[2:]) for t in parts]
        mixed = combine([parts, cached_part(q, own.k[i], own.v[i], to_own)]).astype(x.dtype)
        return (decoder._close(layer.params, layer.adapter, scale, config, x, mixed), own), None

    carry = (x.reshape(n * g, 1, d), own)
    (x, own), _ = jax.lax.scan(one, carry, (jnp.arange(config.num_hidden_layers), layers))
    return decoder.rms_norm(x, params["norm"], config.rms_norm_eps).reshape(n, g, d), own


WRITTEN_OUT = {name: getattr(decoder, name) for name in ("decode_layers", "empty_cache", "grown", "decode_step")}
LOOP = {"decode_layers": stacked, "empty_cache": stacked_cache, "grown": lambda cache, slots: cache,
        "decode_step": looped_step}


def compiled(form, config, *arguments):
    """(the program that decodes, seconds it took to compile)."""
    sampling = SamplingOptions(max_completion_length=NEW, min_new_tokens=NEW)

    def decode(base, adapter, cache, noise):
        ids, none = jnp.arange(PROMPTS, dtype=jnp.int32), jnp.zeros((PROMPTS, 1), jnp.int32)
        return sample(base, adapter, config, sampling, NEW, GROUP, cache, noise, ids, none,
                      jnp.zeros(PROMPTS, jnp.int32), jnp.full(PROMPTS, NEW, jnp.int32)).tokens

    with contextlib.ExitStack() as stack:
        for name, function in form.items():
            stack.enter_context(mock.patch.object(decoder, name, function))
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
    forms = {"loop": compiled(LOOP, config, *arguments), "written_out": compiled(WRITTEN_OUT, config, *arguments)}
    tokens = {name: np.asarray(program(*arguments)) for name, (program, _) in forms.items()}
    assert (tokens["loop"] == tokens["written_out"]).mean() > 0.95  # rounding may turn single draws
    best = dict.fromkeys(forms, float("inf"))
    for _ in range(rounds):
        for name, (program, _) in forms.items():
            begun = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            best[name] = min(best[name], time.perf_counter() - begun)
    count = PROMPTS * GROUP * NEW
    return {"layers": layers} | {f"{name}_tok_s": round(count / best[name], 1) for name in forms} | {
        f"{name}_compile_s": round(seconds, 1) for name, (_, seconds) in forms.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", default="4,28")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [measure(int(layers), args.rounds) for layers in args.layers.split(",")]
    lines = ["# Layers as a loop or written out", "", "`python benchmarks/unroll.py`", "",
             "| layers | loop, tokens/s | written out, tokens/s | loop, s to compile | written out, s to compile |",
             "|---|---|---|---|---|"]
    lines += [f"| {r['layers']} | {r['loop_tok_s']:,.0f} | {r['written_out_tok_s']:,.0f} | {r['loop_compile_s']} | "
              f"{r['written_out_compile_s']} |" for r in rows]
    print("\n".join(lines))
    if args.out:
        args.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
