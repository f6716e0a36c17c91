"""The order of the data as a pure function of (seed, step): which records make up which batch.

An epoch is a permutation of the records, dealt into batches of similar length. Nothing needs saving for a
resume but the step; the plan's hash tells whether the data or the settings have changed since.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emsa_jax.errors import InputError


def epoch_plan(
    lengths: Sequence[int],
    boundaries: Sequence[int],
    batch_size: int,
    seed: int,
    epoch: int,
    drop_remainder: bool = False,
) -> np.ndarray:
    """int64 [num_batches, batch_size] of record indices for one epoch.

    The records, permuted by (seed, epoch), go to the smallest bucket whose boundary (inclusive) holds their
    length. Each bucket is cut into batches from the shortest up, and what does not fill a batch is promoted
    to the next bucket, ahead of its own. The rest of the last bucket is padded with -1, or dropped. Batches
    are then permuted. The number of batches is the same in every epoch. Raises InputError naming a record
    longer than the last boundary.
    """
    lengths, boundaries = np.asarray(lengths, np.int64), np.asarray(boundaries, np.int64)
    buckets = _buckets(lengths, boundaries)
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths))
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
    """All epochs, one after the other: step s is batch s mod `batches_per_epoch` of epoch s div it."""

    lengths: np.ndarray  # int [num_records], in any unit that the boundaries share
    boundaries: tuple[int, ...]
    batch_size: int
    seed: int
    drop_remainder: bool = False

    def __post_init__(self):
        if not self.batches_per_epoch:
            raise InputError(
                f"{len(self.lengths)} clips make no batch of {self.batch_size}; lower it or add clips"
            )

    @cached_property
    def batches_per_epoch(self) -> int:
        return len(self._epoch(0))

    @cached_property
    def hash(self) -> str:
        """sha256 of everything that decides the order."""
        parts = [list(self.boundaries), self.batch_size, self.seed, self.drop_remainder]
        lengths = np.asarray(self.lengths, "<i8").tobytes()
        return hashlib.sha256(repr(parts).encode() + lengths).hexdigest()

    def _epoch(self, epoch: int) -> np.ndarray:
        return epoch_plan(
            self.lengths, self.boundaries, self.batch_size, self.seed, epoch, self.drop_remainder
        )


def batch_at(plan: Plan, step: int) -> np.ndarray:
    """int64 [batch_size]: the records of a step, -1 where the last batch of an epoch is not full."""
    epoch, index = divmod(int(step), plan.batches_per_epoch)
    # One epoch is remembered, as steps come in order. A race of threads costs time, never a wrong answer.
    remembered = plan.__dict__.get("_last")
    if remembered is None or remembered[0] != epoch:
        remembered = plan.__dict__["_last"] = (epoch, plan._epoch(epoch))
    return remembered[1][index]


def boundary_at(plan: Plan, step: int) -> int:
    """The boundary that the step's batch is to be padded to."""
    batch = batch_at(plan, step)
    longest = np.asarray(plan.lengths)[batch[batch >= 0]].max()
    return int(plan.boundaries[np.searchsorted(plan.boundaries, longest)])


def _buckets(lengths: np.ndarray, boundaries: np.ndarray) -> np.ndarray:
    if not len(boundaries) or (np.diff(boundaries) <= 0).any():
        raise InputError(f"bucket boundaries {boundaries.tolist()} must rise")
    buckets = np.searchsorted(boundaries, lengths)
    if (buckets == len(boundaries)).any():
        longest = int(lengths.argmax())
        raise InputError(f"record {longest} has length {lengths[longest]}, beyond the largest bucket "
                         f"{boundaries[-1]}; raise that, or set the record aside")  # fmt: skip
    return buckets
