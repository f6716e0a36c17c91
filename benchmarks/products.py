"""How fast this machine multiplies matrices of a small policy's sizes: XLA, with the flags in XLA_FLAGS, or torch.

    python benchmarks/products.py [--by xla|torch] [--tokens 512]

A line for every linear [in, out] of SmolLM2-135M and of an adapter of rank 16: GFLOP a second, float32, of the forward
product and of the two of the backward pass (with respect to the input and to the weight), the best of ten.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np

LINEARS = ((576, 576), (576, 192), (576, 1536), (1536, 576), (576, 16), (16, 576), (576, 49152))
PRODUCTS = ("ti,oi->to", "to,oi->ti", "to,ti->oi")


def best(run: Callable[[], object], rounds: int = 10) -> float:
    """The least seconds of a call, the first not counted."""
    run()
    seconds = []
    for _ in range(rounds):
        begun = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def by_xla(product: str, a: np.ndarray, b: np.ndarray) -> float:
    import jax
    import jax.numpy as jnp

    a, b, multiply = jax.device_put(a), jax.device_put(b), jax.jit(lambda a, b: jnp.einsum(product, a, b))
    return best(lambda: multiply(a, b).block_until_ready())


def by_torch(product: str, a: np.ndarray, b: np.ndarray) -> float:
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    calls = {PRODUCTS[0]: lambda: torch.nn.functional.linear(a, b), PRODUCTS[1]: lambda: a @ b}
    return best(calls.get(product, lambda: a.t() @ b))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--by", choices=("xla", "torch"), default="xla")
    parser.add_argument("--tokens", type=int, default=512)
    args = parser.parse_args()
    rng, run = np.random.default_rng(0), by_xla if args.by == "xla" else by_torch
    for width, out in LINEARS:
        arrays = {"ti": (args.tokens, width), "oi": (out, width), "to": (args.tokens, out)}
        arrays = {axes: rng.standard_normal(shape).astype(np.float32) for axes, shape in arrays.items()}
        flops = 2 * args.tokens * width * out
        found = [flops / run(p, *(arrays[axes] for axes in p.split("->")[0].split(","))) / 1e9 for p in PRODUCTS]
        print(
            f"{args.by} {args.tokens} x {width} x {out}: " + "  ".join(f"{value:4.0f}" for value in found), flush=True
        )


if __name__ == "__main__":
    main()
