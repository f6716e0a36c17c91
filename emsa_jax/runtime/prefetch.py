"""Host work for the next step while the devices are busy with this one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

_END = object()


def ahead(items: Iterator[Any], prepare: Callable[[Any], Any]) -> Iterator[Any]:
    """`prepare` of each item, in order, one made ahead by a thread. What it raises is raised where it is asked for."""

    def one() -> Any:
        item = next(items, _END)
        return item if item is _END else prepare(item)

    with closing(items), ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(one)
        while (made := upcoming.result()) is not _END:
            upcoming = thread.submit(one)
            yield made
