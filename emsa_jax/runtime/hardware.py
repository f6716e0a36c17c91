"""What the devices of the run could do at best, and how much memory they have."""

from __future__ import annotations

import os
import time

import jax
import jax.numpy as jnp

# Dense bfloat16 FLOPs a second of one device, by a part of its name in JAX (data sheets of the vendors). The first
# name that fits counts.
PEAK_FLOPS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "RTX 4090": 165e12,
    "TPU v6 lite": 918e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v4": 275e12,
}


def peak_flops() -> float:
    """FLOPs a second of all devices of the run together: by the data sheet, or as a large float32 product reaches on
    a device that has none here."""
    device = jax.devices()[0]
    known = next((peak for name, peak in PEAK_FLOPS.items() if name in device.device_kind), None)
    return known * jax.device_count() if known else _measure_flops() * jax.process_count()


def _measure_flops(size: int = 1024) -> float:
    """FLOPs a second of the fastest of five float32 products [size, size] x [size, size]."""
    product = jax.jit(jnp.matmul)
    square = jnp.ones((size, size), jnp.float32)
    product(square, square).block_until_ready()
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        product(square, square).block_until_ready()
        seconds.append(time.perf_counter() - begun)
    return 2 * size**3 / min(seconds)


def device_bytes() -> int:
    """Bytes of memory of one device; where the device does not say, an equal part of the machine's memory."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
    )
