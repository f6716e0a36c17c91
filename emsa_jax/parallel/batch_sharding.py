"""How a batch is split between processes, and how their host arrays come together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from emsa_jax.errors import InputError
from emsa_jax.parallel import processes
from emsa_jax.parallel.mesh import batch_shards, rows_held


@dataclass(frozen=True)
class BatchSharding:
    """Which part of every batch this process holds.

    Attributes:
      num_shards: equal parts of a batch on the whole mesh, one for each device or group of devices that share rows.
      group, groups: this process holds part `group` of `groups`; more processes may hold it too.
      leaders: for each of the groups, the process that speaks for it.
    """

    num_shards: int = 1
    group: int = 0
    groups: int = 1
    leaders: tuple[int, ...] = (0,)

    @classmethod
    def of(cls, mesh: Mesh) -> BatchSharding:
        """The part of this process on a mesh."""
        found = [rows_held(mesh, process) for process in range(processes.process_count())]
        group, groups = found[processes.process_index()]
        leaders = tuple(next(p for p, (g, _) in enumerate(found) if g == part) for part in range(groups))
        return cls(batch_shards(mesh), group, groups, leaders)

    @property
    def local_shards(self) -> int:
        """Shards of this process."""
        return self.num_shards // self.groups

    def local_rows(self, batch: int) -> range:
        """This process's rows of a batch."""
        size = batch // self.groups
        return range(self.group * size, (self.group + 1) * size)

    def check(self, batch: int, name: str, micro_batches: int = 0) -> None:
        """Raises InputError unless a batch can be cut into equal parts of equal micro-batches. micro_batches: 0 if they
        are yet to be chosen."""
        if batch % self.num_shards:
            raise InputError(
                f"{name} {batch} must be a multiple of the {self.num_shards} parts that the mesh cuts a batch "
                "into; change it, or mesh.tensor"
            )
        each = batch // self.num_shards
        if micro_batches and each % micro_batches:
            works = next(n for n in range(micro_batches, 0, -1) if each % n == 0)
            raise InputError(
                f"{name.rpartition('.')[0]}.micro_batches {micro_batches} must divide {each}, each of the "
                f"{self.num_shards} parts that the mesh cuts {name} into; {works} does; 0 chooses"
            )

    def all_gather(self, tree: Any, what: str) -> Any:
        """Host arrays [rows, ...] of this process -> those of the whole batch."""
        return processes.all_gather(tree, what, self.leaders)

    def fetch(self, tree: Any) -> Any:
        """Device arrays with the batch first -> this process's rows of them, on the host. Arrays that all devices
        hold come whole."""
        return jax.tree.map(_local, tree) if processes.process_count() > 1 else jax.device_get(tree)


def _local(array: jax.Array) -> np.ndarray:
    if array.is_fully_replicated or array.is_fully_addressable:
        return jax.device_get(array)
    parts = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([jax.device_get(parts[start]) for start in sorted(parts)])


SINGLE_PROCESS = BatchSharding()  # of the only process, on one device
