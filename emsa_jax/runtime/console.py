"""What a person sees while a job runs: plain lines and progress with the time left."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Advance = Callable[..., None]
_state = {"quiet": False}


def be_quiet() -> None:
    """From now on this process shows nothing: process 0 of the run does."""
    _state["quiet"] = True


def printable(text: str) -> str:
    """The text without control characters, which could command a terminal: answers and labels are not
    ours."""
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)


def say(text: str) -> None:
    """One plain line on the standard output."""
    if not _state["quiet"]:
        _print(printable(text), sys.stdout)


@contextlib.contextmanager
def progress(total: int, description: str, start: int = 0, every: float = 10.0) -> Iterator[Advance]:
    """Shows how far a loop is: a bar where stderr is a terminal, else a line each `every` seconds and at
    the end.

    start: steps made by an earlier run; the time left is judged by this run's pace alone.
    Yields advance(steps=1, note=""), to be called after each step; the note stands beside the count.
    """
    if _state["quiet"]:
        yield lambda steps=1, note="": None
        return
    shown = _bar if sys.stderr.isatty() else _lines
    with shown(total, printable(description), start, every) as advance:
        yield advance


@contextlib.contextmanager
def _bar(total: int, description: str, start: int, every: float) -> Iterator[Advance]:
    name, note = (TextColumn(text, markup=False) for text in ("{task.description}", "{task.fields[note]}"))
    left = (TextColumn("left"), TimeRemainingColumn())
    columns = (name, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), *left, note)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, completed=start, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps, note=printable(note))

        yield advance


@contextlib.contextmanager
def _lines(total: int, description: str, start: int, every: float) -> Iterator[Advance]:
    begun = shown = time.monotonic()
    done = start

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done, shown
        done += steps
        now = time.monotonic()
        if now - shown >= every or done >= total:
            shown = now
            left = (now - begun) / max(done - start, 1) * max(total - done, 0)
            line = f"{description} {done}/{total}, {_clock(now - begun)} gone, {_clock(left)} left"
            _print(f"{line}  {printable(note)}".rstrip(), sys.stderr)

    yield advance


def _print(text: str, file: TextIO) -> None:
    """Prints what the file's encoding can spell; the work goes on where nobody reads any more (`| head`)."""
    encoding = file.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=file, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
