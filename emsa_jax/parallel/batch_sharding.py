"""How a batch is split between processes, and how the host arrays of all processes are put together."""

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
      num_shards: equal parts into which the whole mesh cuts a batch; devices along `tensor` hold the same part.
      group, groups: this process holds part `group` of `groups` equal parts; other processes may hold it too.
      leaders: for each of these parts, the process whose values count.
      processes: how many the run has.
    """

    num_shards: int = 1
    group: int = 0
    groups: int = 1
    leaders: tuple[int, ...] = (0,)
    processes: int = 1

    @classmethod
    def of(cls, mesh: Mesh) -> BatchSharding:
        """The sharding of this process on a mesh."""
        count = processes.process_count()
        found = [rows_held(mesh, process) for process in range(count)]
        group, groups = found[processes.process_index()]
        leaders = tuple(next(p for p, (g, _) in enumerate(found) if g == part) for part in range(groups))
        return cls(batch_shards(mesh), group, groups, leaders, count)

    @property
    def local_shards(self) -> int:
        """How many of the shards this process holds."""
        return self.num_shards // self.groups

    def local_rows(self, batch: int) -> range:
        """The rows of a batch of this size that this process holds."""
        size = batch // self.groups
        return range(self.group * size, (self.group + 1) * size)

    def check(self, batch: int, name: str, micro_batches: int = 0) -> None:
        """Checks that the mesh can cut a batch into equal parts, and these into equal micro-batches.

        Args:
          batch: prompts of a batch. name: the option that says how many, for the error.
          micro_batches: 0 if they are not chosen yet.

        Raises:
          InputError: the batch cannot be cut so.
        """
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
        """Host arrays [rows, ...] of this process -> those of the whole batch. what: names the exchange, for errors."""
        return processes.all_gather(tree, what, self.leaders) if self.processes > 1 else tree

    def fetch(self, tree: Any) -> Any:
        """Device arrays [batch, ...] -> the rows of them that this process holds, as host arrays.

        An array that every device holds is fetched whole.
        """
        return jax.tree.map(_local, tree) if self.processes > 1 else jax.device_get(tree)


def _local(array: jax.Array) -> np.ndarray:
    """The rows of an array that this process holds."""
    if array.is_fully_replicated or array.is_fully_addressable:
        return jax.device_get(array)
    parts = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
    return np.concatenate([jax.device_get(parts[start]) for start in sorted(parts)])


SINGLE_PROCESS = BatchSharding()  # of a run of one process on one device
