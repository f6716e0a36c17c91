"""From records to clips, step by step, read ahead by threads."""

import sys
from collections.abc import Iterator
from pathlib import Path

import grain

from emsa_jax.data.plan import Plan, batch_at
from emsa_jax.data.records import Clip, RecordSource, unpack


class Clips:
    """Random access to the decoded clips of one split. Damage is an InputError naming shard and record."""

    def __init__(self, directory: str | Path, split: str):
        self._records = RecordSource(directory, split)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Clip:
        return unpack(self._records[index])


def batches(
    source: Clips, plan: Plan, start_step: int = 0, stop_step: int | None = None, num_threads: int = 4
) -> Iterator[tuple[int, list[Clip]]]:
    """(step, its clips) for each step from `start_step`, endlessly or up to `stop_step`.

    A batch that the plan pads comes out shorter. Threads read ahead; they end when the iterator is exhausted
    or closed. What a step yields depends on the plan and the step alone.
    """
    stop_step = sys.maxsize if stop_step is None else stop_step
    if start_step >= stop_step:
        return

    def load(step: int) -> tuple[int, list[Clip]]:
        return int(step), [source[i] for i in batch_at(plan, step) if i >= 0]

    steps = grain.MapDataset.range(start_step, stop_step).map(load)
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads)
    iterator = iter(steps.to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()
