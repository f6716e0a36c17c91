"""The order of the data as a pure function of (seed, step): which records make up which batch.

An epoch is a permutation of the records (or what a mixture deals), cut into batches of similar length. For a
resume, only the step has to be saved; the hash of the plan shows whether data or settings have changed since. Several
processes use the same plan, and each takes its rows of every batch.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import cached_property, lru_cache

import numpy as np

from emsa_jax.data.mixture import Part, draw, epoch_size, part_of
from emsa_jax.errors import InputError


def epoch_plan(
    lengths: Sequence[int],
    boundaries: Sequence[int],
    batch_size: int,
    seed: int,
    epoch: int,
    drop_remainder: bool = False,
    parts: Sequence[Part] = (),
) -> np.ndarray:
    """int64 [num_batches, batch_size] of record indices for one epoch.

    The records, permuted by (seed, epoch), go to the smallest bucket whose boundary (inclusive) holds their
    length. Each bucket is cut into batches from the shortest up, and what does not fill a batch is promoted
    to the next bucket, ahead of its own. The rest of the last bucket is padded with -1, or dropped. Batches
    are then permuted. The number of batches is the same in every epoch. With `parts`, an epoch holds the
    records that the mixture deals in it, always full batches. Raises InputError naming a record longer than
    the last boundary.
    """
    lengths, boundaries = np.asarray(lengths, np.int64), np.asarray(boundaries, np.int64)
    buckets = _buckets(lengths, boundaries)
    rng = np.random.default_rng((seed, epoch))
    dealt = draw(parts, seed, epoch, epoch_size(parts, batch_size)) if parts else np.arange(len(lengths))
    order = dealt[rng.permutation(len(dealt))]
    batches, carried = [], np.zeros(0, np.int64)
    for bucket in range(len(boundaries)):
        records = np.concatenate([carried, order[buckets[order] == bucket]])
        full = len(records) // batch_size * batch_size
        batches.append(records[:full].reshape(-1, batch_size))
        carried = records[full:]
    if len(carried) and not drop_remainder:
        batches.append(np.pad(carried, (0, batch_size - len(carried)), constant_values=-1)[None])
    plan = np.concatenate(batches)
    return plan[rng.permutation(len(plan))]


@dataclass(frozen=True, eq=False)
class Plan:
    """All epochs, one after the other: step s is batch s % `batches_per_epoch` of epoch s // `batches_per_epoch`."""

    lengths: np.ndarray  # int [num_records], in any unit that the boundaries share
    boundaries: tuple[int, ...]
    batch_size: int  # global, of all processes together
    seed: int
    drop_remainder: bool = False
    parts: tuple[Part, ...] = ()  # of a mixture, whose records `lengths` counts one part after the other

    def __post_init__(self) -> None:
        if self.parts and sum(part.num_records for part in self.parts) != len(self.lengths):
            raise ValueError(f"{len(self.lengths)} lengths for parts of {[p.num_records for p in self.parts]}")
        if not self.batches_per_epoch:
            raise InputError(
                f"{len(self.lengths)} clips make no batch of {self.batch_size}; lower sft.batch_size or "
                "grpo.prompts_per_step, or add clips"
            )

    @cached_property
    def batches_per_epoch(self) -> int:
        return len(self._epoch(0))

    @cached_property
    def hash(self) -> str:
        """sha256 of everything that decides the order, and of what data the parts of a mixture hold."""
        parts = [list(self.boundaries), self.batch_size, self.seed, self.drop_remainder]
        parts += [astuple(part) for part in self.parts]
        lengths = np.asarray(self.lengths, "<i8").tobytes()
        return hashlib.sha256(repr(parts).encode() + lengths).hexdigest()

    def _epoch(self, epoch: int) -> np.ndarray:
        return epoch_plan(
            self.lengths, self.boundaries, self.batch_size, self.seed, epoch, self.drop_remainder, self.parts
        )


def batch_at(plan: Plan, step: int, process: int = 0, processes: int = 1) -> np.ndarray:
    """int64 [batch_size / processes]: the process's records of a step, -1 where an epoch's last batch is not full."""
    epoch, index = divmod(int(step), plan.batches_per_epoch)
    rows = rows_of(plan.batch_size, process, processes)
    return _epoch_of(plan, epoch)[index][rows.start : rows.stop]


@lru_cache(maxsize=4)  # steps come in order, of the plans for training and validation; a plan is the same by identity
def _epoch_of(plan: Plan, epoch: int) -> np.ndarray:
    """The batches of an epoch, int64 [num_batches, batch_size]; not to be written to."""
    batches = plan._epoch(epoch)
    batches.flags.writeable = False
    return batches


def rows_of(batch_size: int, process: int, processes: int) -> range:
    """The rows of every global batch that a process loads: a block of neighbours, in the order of processes, as
    `jax.make_array_from_process_local_data` expects them. Raises InputError if their numbers would differ."""
    if batch_size % processes or not 0 <= process < processes:
        raise InputError(
            f"a batch of {batch_size} does not divide among {processes} processes (this is number "
            f"{process}); make it a multiple of {processes}"
        )
    rows = batch_size // processes
    return range(process * rows, (process + 1) * rows)


def boundary_at(plan: Plan, step: int) -> int:
    """The length to which the batch of a step is padded, the same on every process."""
    batch = batch_at(plan, step)
    longest = np.asarray(plan.lengths)[batch[batch >= 0]].max()
    return int(plan.boundaries[np.searchsorted(plan.boundaries, longest)])


def parts_at(plan: Plan, step: int, process: int = 0, processes: int = 1) -> np.ndarray:
    """int64 [batch_size / processes]: which part of `plan.parts` each row of a step comes from (0 for all where
    nothing is mixed), -1 where there is no clip."""
    return part_of(plan.parts or (Part("", len(plan.lengths), 1.0, ""),), batch_at(plan, step, process, processes))


def _buckets(lengths: np.ndarray, boundaries: np.ndarray) -> np.ndarray:
    if not len(boundaries) or (np.diff(boundaries) <= 0).any():
        raise InputError(f"bucket boundaries {boundaries.tolist()} must rise")
    buckets = np.searchsorted(boundaries, lengths)
    if (buckets == len(boundaries)).any():
        longest = int(lengths.argmax())
        raise InputError(
            f"record {longest} has length {lengths[longest]}, beyond the largest bucket "
            f"{boundaries[-1]}; raise that, or set the record aside"
        )
    return buckets
