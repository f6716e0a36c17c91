"""Loads a policy directory onto a mesh of eight CPU devices and exports it again.

python loading.py SOURCE OUT SHARD_BYTES    prints one JSON object
"""

import json
import sys
from pathlib import Path

import jax

from emsa_jax.parallel.mesh import make_mesh
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.parallel.rules import UPDATE
from emsa_jax.policy import hf
from emsa_jax.policy.hf_config import read_config
from emsa_jax.policy.layout import Layout


def memory(name: str) -> int:
    """Bytes of this process: VmRSS now, VmHWM at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def main() -> None:
    source, out, shard_bytes = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    mesh, _ = make_mesh(MeshOptions(fsdp=4, tensor=2))
    jax.device_put(0, mesh.devices.flat[7]).block_until_ready()  # the devices themselves
    before = memory("VmRSS")
    _, params = hf.load(source, None, Layout(read_config(source), mesh, UPDATE))
    peak, leaves = memory("VmHWM") - before, jax.tree.leaves(params)
    hf.save(out, read_config(source), params, source, shard_bytes=shard_bytes)
    print(
        json.dumps(
            {
                "peak": peak,
                "bytes": sum(leaf.nbytes for leaf in leaves),
                "largest": max(leaf.nbytes for leaf in leaves),
                "held": max(
                    sum(
                        shard.data.nbytes
                        for leaf in leaves
                        for shard in leaf.addressable_shards
                        if shard.device == device
                    )
                    for device in mesh.devices.flat
                ),
            }
        )
    )


if __name__ == "__main__":
    main()
