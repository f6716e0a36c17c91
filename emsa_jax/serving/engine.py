"""The engine: one thread that answers what others ask, a few batches at a time, a chunk of tokens of each in turn.

What arrives together goes through one batch. What arrives while batches are under way gets one of its own as soon as
fewer than `max_batches` are, so that nobody waits for the longest answer of somebody else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from emsa_jax.errors import InputError
from emsa_jax.policy.inputs import InputShape
from emsa_jax.policy.prompt_row import Row
from emsa_jax.serving.decoding import Answering, Asked, Knobs, Piece
from emsa_jax.serving.programs import ServingPrograms
from emsa_jax.serving.shapes import PromptShape, need_of

GATHER_SECONDS = 0.004  # for which an idle engine waits for what arrives together


class Busy(Exception):
    """The queue is full."""


class Closed(Exception):
    """The engine takes no more questions."""


@dataclass(frozen=True)
class DrawnToken:
    """A token of an answer, its log-probability, and (token, log-probability) of the likeliest in its place."""

    id: int
    logp: float
    likeliest: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Delivery:
    """What is new of an answer. done: nothing follows; ended: by itself, and not cut off. error: why there is none."""

    tokens: tuple[DrawnToken, ...] = ()
    done: bool = False
    ended: bool = False
    error: str = ""


@dataclass(eq=False)
class Work:
    """One answer that is asked for.

    deliver: is called in the engine's thread. likeliest: alternatives of each token that are wanted. cancelled: set by
    whoever no longer waits. started: when its batch was begun, on the monotonic clock."""

    row: Row
    deliver: Callable[[Delivery], None]
    limit: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    answer: int = 0
    likeliest: int = 0
    cancelled: bool = False
    started: float = 0.0
    shape: PromptShape | None = None


@dataclass(eq=False)
class _Batch:
    """Answers that are made together. slot: how many tokens of each are there."""

    works: list[Work]
    shape: PromptShape
    asked: Asked
    answering: Answering
    knobs: Knobs
    slot: int = 0
    told: set[int] = field(default_factory=set)  # rows that were told that nothing follows

    def left(self) -> list[Work]:
        """The answers that somebody still waits for."""
        return [work for row, work in enumerate(self.works) if row not in self.told]


class Engine:
    """Answers `Work`. `start` and `close` are called once; `submit` from any thread.

    Attributes:
      waiting, running: answers that wait, and those under way.
      tokens: drawn so far.
    """

    def __init__(self, programs: ServingPrograms, max_queue: int, max_batches: int) -> None:
        self.programs, self.max_queue, self.max_batches = programs, max_queue, max_batches
        self._waiting: deque[Work] = deque()
        self._active: list[_Batch] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.tokens = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        return sum(len(batch.left()) for batch in list(self._active))

    @property
    def alive(self) -> bool:
        """Whether the thread runs that answers."""
        return self._thread.is_alive()

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Takes no more questions; those that wait or are under way are told so. Returns when the thread has ended."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def check(self, row: Row, limit: int) -> PromptShape:
        """The shape that holds a prompt. Raises InputError where none does."""
        shapes, config = self.programs.shapes, self.programs.policy.config
        need: InputShape = need_of(config, row, max(shape.patch_row for shape in shapes))
        fitting = next((shape for shape in shapes if shape.holds(need)), None)
        if fitting is None:
            longest = shapes[-1]
            sizes = {"prompt": "tokens", "chunks": "chunks of sound", "patch_rows": "frames or pictures"}
            name = next(name for name in sizes if getattr(need, name) > getattr(longest, name))
            raise InputError(
                f"the prompt has {getattr(need, name)} {sizes[name]}, but there is room for "
                f"{getattr(longest, name)}: send less, or start the server with larger limits"
            )
        if limit > self.programs.slots:
            raise InputError(f"{limit} tokens of an answer are asked for, but at most {self.programs.slots} are made")
        return fitting

    def submit(self, works: list[Work]) -> None:
        """Takes work, all of it or none. Raises InputError for a prompt that does not fit, Busy and Closed."""
        for work in works:
            work.shape = self.check(work.row, work.limit)
        with self._changed:
            if self._closing:
                raise Closed
            if len(self._waiting) + len(works) > self.max_queue:
                raise Busy
            self._waiting.extend(works)
            self._changed.notify()

    def _run(self) -> None:
        while self._wait_for_work():
            works = self._next_works()
            if works:
                self._guarded(works, lambda works=works: self._begin(works))
            for batch in list(self._active):
                self._guarded(batch.works, lambda batch=batch: self._advance(batch), batch)
        for work in [*self._waiting, *(work for batch in self._active for work in batch.left())]:
            work.deliver(Delivery(done=True, error="the server is stopping"))

    def _wait_for_work(self) -> bool:
        """Whether there is something to do; False at the end."""
        with self._changed:
            if not self._active and not self._waiting:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._closing and len(self._waiting) < self.programs.row_counts[-1]:
                    self._changed.wait(GATHER_SECONDS)
            return not self._closing

    def _next_works(self) -> list[Work]:
        """What the next batch answers: the longest waiting, and others that fit into its shape; [] while enough are
        under way."""
        with self._changed:
            while self._waiting and self._waiting[0].cancelled:
                self._waiting.popleft().deliver(Delivery(done=True))
            if not self._waiting or len(self._active) >= self.max_batches:
                return []
            shapes, first = self.programs.shapes, self._waiting[0]
            place = shapes.index(first.shape)
            chosen = [work for work in self._waiting if shapes.index(work.shape) <= place and not work.cancelled]
            chosen = chosen[: self.programs.row_counts[-1]]
            self._waiting = deque(work for work in self._waiting if work not in chosen)
            return chosen

    def _guarded(self, works: list[Work], what: Callable[[], None], batch: _Batch | None = None) -> None:
        """What fails is told to those who wait for it, and the engine goes on with the others."""
        try:
            what()
        except Exception as error:
            if batch is not None:
                self._active.remove(batch)
            line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            for work in batch.left() if batch is not None else works:
                work.deliver(Delivery(done=True, error=line))

    def _begin(self, works: list[Work]) -> None:
        rows = self.programs.rows_for(len(works))
        for work in works:
            work.started = time.monotonic()
        shape = works[0].shape
        asked, answering = self.programs.begin(shape, [work.row for work in works], rows)
        knobs, n = self.programs.knobs(rows), len(works)
        for name in ("temperature", "top_p", "seed", "answer", "limit"):
            getattr(knobs, name)[:n] = [getattr(work, name) for work in works]
        self._active.append(_Batch(works, shape, asked, answering, knobs))

    def _advance(self, batch: _Batch) -> None:
        """Draws a chunk of a batch, and hands it out."""
        stopped = np.ones(len(batch.knobs.limit), bool)
        stopped[: len(batch.works)] = [work.cancelled for work in batch.works]
        wanted = any(work.likeliest for work in batch.works)
        knobs = batch.knobs.replace(stopped=stopped, alternatives=np.array(wanted))
        batch.answering, piece = self.programs.go_on(batch.shape, batch.slot, batch.asked, batch.answering, knobs)
        batch.slot += self.programs.chunk
        for row, work in enumerate(batch.works):
            if row not in batch.told:
                self._hand_out(batch, row, work, piece)
        if len(batch.told) == len(batch.works):
            self._active.remove(batch)

    def _hand_out(self, batch: _Batch, row: int, work: Work, piece: Piece) -> None:
        count = int(piece.count[row])
        if not np.isfinite(piece.logps[row, :count]).all():
            batch.told.add(row)
            work.cancelled = True
            work.deliver(Delivery(done=True, error="the log-probabilities of the answer are not finite"))
            return
        tokens = tuple(_drawn(piece, row, at, work.likeliest) for at in range(count))
        self.tokens += count
        done = bool(piece.done[row])
        if done:
            batch.told.add(row)
        if tokens or done:
            work.deliver(Delivery(tokens, done, bool(piece.ended[row])))


def _drawn(piece: Piece, row: int, at: int, likeliest: int) -> DrawnToken:
    others = zip(piece.likeliest[row, at, :likeliest], piece.likeliest_logps[row, at, :likeliest], strict=True)
    alternatives = tuple((int(id), float(logp)) for id, logp in others)
    return DrawnToken(int(piece.tokens[row, at]), float(piece.logps[row, at]), alternatives)
