"""From records to clips, step by step, read ahead by threads."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from emsa_jax.data.batch_order import Plan, batch_at, rows_of
from emsa_jax.data.records import Clip, RecordSource, unpack


class Clips:
    """Random access to the decoded clips of one split. Damage is an InputError naming shard and record.

    Can be pickled, as loaders with worker processes need it: each process opens the shards for itself.
    """

    def __init__(self, directory: str | Path, split: str) -> None:
        self._opened = (directory, split)
        self._records = RecordSource(directory, split)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Clip:
        return unpack(self._records[index])

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), self._opened


class DataSource(Clips):
    """One split in the style of `tfds.data_source`, for Grain, PyTorch and other loaders; needs no TensorFlow.

    An item is a dict of NumPy arrays, a key for each field of `Clip`: frames uint8 [F, H, W, 3], mel float32
    [T, 128], numbers as float32 [] (a missing score as NaN), strings as unicode [], concepts as unicode [n, 2].
    """

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        clip = super().__getitem__(index)
        return {field.name: _array(getattr(clip, field.name)) for field in fields(clip)}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, np.ndarray]]:
        return [self[index] for index in indices]


def batches(
    source: Sequence[Clip],
    plan: Plan,
    start_step: int = 0,
    stop_step: int | None = None,
    num_threads: int = 4,
    process: int = 0,
    processes: int = 1,
    view: Callable[[Clip, int, int], Clip] | None = None,
) -> Iterator[tuple[int, list[Clip]]]:
    """(step, its clips) for each step from `start_step`, endlessly or up to `stop_step`.

    Each of `processes` gets its own rows of every batch (see `rows_of`): as many batches everywhere, and together
    those of one process alone. A batch that the plan pads comes out shorter, for some processes empty. `view(clip,
    step, row)` changes what is shown of a clip, `row` being that of the whole batch (data/views.py).

    Threads read ahead; they end when the iterator is exhausted or closed. What a step yields depends on the plan,
    the view and the step alone.
    """
    import grain  # here, as it loads JAX where it finds it: the process that trains may have that, workers not

    stop_step = sys.maxsize if stop_step is None else stop_step
    rows = rows_of(plan.batch_size, process, processes)
    if start_step >= stop_step:
        return

    def load(step: int) -> tuple[int, list[Clip]]:
        records = batch_at(plan, step, process, processes)
        clips = [(row, source[i]) for row, i in zip(rows, records, strict=True) if i >= 0]
        return int(step), [view(clip, int(step), row) if view else clip for row, clip in clips]

    steps = grain.MapDataset.range(start_step, stop_step).map(load)
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads)
    iterator = iter(steps.to_iter_dataset(options))
    try:
        yield from iterator
    finally:
        iterator.close()


def _array(value: Any) -> np.ndarray:
    if isinstance(value, tuple):
        return np.array(value, str).reshape(len(value), -1) if value else np.zeros((0, 2), str)
    if value is None or isinstance(value, int | float):
        return np.asarray(np.nan if value is None else value, np.float32)
    return np.asarray(value)
