"""What the machine could do at best, and how much memory was used at most."""

from __future__ import annotations

import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp

# dense bfloat16 FLOPs a second of one device, by a part of its name (vendors' data sheets)
_PEAKS = {
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "TPU v6 lite": 918e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v4": 275e12,
}


def peak_flops() -> float:
    """FLOPs a second that all devices of the run could do: the data sheet's, or else of a large float32 product."""
    device = jax.devices()[0]
    known = next((peak for name, peak in _PEAKS.items() if name in device.device_kind), None)
    return known * jax.device_count() if known else _measured() * jax.process_count()


def _measured(size: int = 1024) -> float:
    product = jax.jit(jnp.matmul)
    square = jnp.ones((size, size), jnp.float32)
    product(square, square).block_until_ready()
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        product(square, square).block_until_ready()
        seconds.append(time.perf_counter() - begun)
    return 2 * size**3 / min(seconds)


def peak_gigabytes() -> float:
    """The most memory that was in use: of the first device, or else of this process, in 10^9 bytes."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in stats:
        return stats["peak_bytes_in_use"] / 1e9
    lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else []
    return next((int(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith("VmHWM")), float("nan"))


def device_bytes() -> int:
    """Memory of one device; where the device does not say, its part of the machine's."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit") or (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // jax.local_device_count()
    )
