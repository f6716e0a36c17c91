"""From a record to the texts that a policy learns from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from emsa_jax.answers.traces import Trace, read_traces
from emsa_jax.distill.progress import Progress
from emsa_jax.distill.trace_record import NAME, Row, is_record, read_record
from emsa_jax.errors import InputError


def any_traces(path: str | Path) -> list[Trace]:
    """Traces from a record (its file or directory), or from a teacher's jsonl."""
    if is_record(path):
        return list(accepted_traces(path))
    return read_traces(path)


def accepted_traces(path: str | Path) -> Iterator[Trace]:
    """The trace of each sample that the filter, and whoever looked at it, let stand; its score is the true one."""
    path = Path(path) / NAME if Path(path).is_dir() else Path(path)
    progress, places = Progress(), {}
    for place, row in enumerate(read_record(path)):
        progress.take(row, place)
    for id, sample in progress.samples.items():
        if (place := sample.place()) is not None:
            places[place] = id
    for place, row in enumerate(read_record(path)):
        if place in places:
            yield _trace(row, path)


def capped(traces: list[Trace], most: int, seed: int) -> list[Trace]:
    """At most `most` traces of each polarity (0: all), in their order. Which ones hangs on seed and ids alone, so that
    a trace more or less changes one of them at most."""
    taken: dict[str, int] = {}
    chosen = set()
    for trace in sorted(traces, key=lambda trace: hashlib.sha256(f"{seed} {trace.id}".encode()).digest()):
        taken[trace.polarity] = taken.get(trace.polarity, 0) + 1
        if not most or taken[trace.polarity] <= most:
            chosen.add(trace.id)
    return [trace for trace in traces if trace.id in chosen]


def _trace(row: Row, path: Path) -> Trace:
    parsed = row["parsed"]
    try:
        return Trace(row["id"], parsed["polarity"], parsed["think"], float(row["truth"]["score"]))
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: the trace of {row['id']!r} has no {error}; decide on it again") from error
