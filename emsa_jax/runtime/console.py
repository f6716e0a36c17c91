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

from emsa_jax.parallel.timers import unless_done

Advance = Callable[..., None]
_state = {"quiet": False}


def be_quiet() -> None:
    """From now on this process prints nothing, because process 0 of the run does."""
    _state["quiet"] = True


def printable(text: str) -> str:
    """The text without control characters, which could command a terminal. Answers of a policy and labels of a file
    may hold any."""
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)


def say(text: str) -> None:
    """Prints one plain line on the standard output."""
    if not _state["quiet"]:
        _write(printable(text), sys.stdout)


@contextlib.contextmanager
def told_if_long(text: str, seconds: float = 10.0) -> Iterator[None]:
    """Says a line if what is done inside takes longer than some seconds."""
    with unless_done(seconds, lambda: say(text)):
        yield


@contextlib.contextmanager
def progress(total: int, description: str, start: int = 0, every: float = 10.0) -> Iterator[Advance]:
    """Shows how far a loop is: a bar where the standard error is a terminal, else a line now and then.

    Args:
      total: steps of the loop.
      start: steps that an earlier start of the run has made; the time left is estimated by this start's pace alone.
      every: seconds between two lines; there is always one at the end.

    Yields:
      advance(steps=1, note=""), to be called after each step. The note is shown beside the count.
    """
    if _state["quiet"]:
        yield lambda *_, **__: None
        return
    show = _bar if sys.stderr.isatty() else _lines
    with show(total, printable(description), start, every) as advance:
        yield advance


@contextlib.contextmanager
def _bar(total: int, description: str, start: int, _every: float) -> Iterator[Advance]:
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
    begun = printed = time.monotonic()
    done = start

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal done, printed
        done += steps
        now = time.monotonic()
        if now - printed >= every or done >= total:
            printed = now
            left = (now - begun) / max(done - start, 1) * max(total - done, 0)
            line = f"{description} {done}/{total}, {_hms(now - begun)} gone, {_hms(left)} left"
            _write(f"{line}  {printable(note)}".rstrip(), sys.stderr)

    yield advance


def _write(text: str, file: TextIO) -> None:
    """Prints what the file's encoding can spell, and escapes the rest. The work goes on where nobody reads any more, as
    behind `| head`."""
    encoding = file.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=file, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def _hms(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
