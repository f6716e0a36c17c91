"""What the loops of all stages have in common: host work done ahead, going on where a killed run stopped, and what ends
every step."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emsa_jax.data.batch_order import Plan
from emsa_jax.errors import InputError
from emsa_jax.learning.checkpoints import Checkpoints
from emsa_jax.learning.learning_options import GuardOptions, OptimizerOptions
from emsa_jax.learning.optimizer import learning_rate_schedule
from emsa_jax.manifest import write_atomic
from emsa_jax.parallel import preemption, processes
from emsa_jax.runtime.console import progress
from emsa_jax.runtime.metric_log import MetricLog, NoLog
from emsa_jax.runtime.programs import tabulate
from emsa_jax.runtime.resume import resume
from emsa_jax.runtime.run import Run
from emsa_jax.training.stage_guard import Seen, StageGuard

PAGE_SECONDS = 15  # a page of a run at work is written anew not more often than this
_END = object()


def prepare_ahead(items: Iterator[Any], prepare: Callable[[Any], Any]) -> Iterator[Any]:
    """`prepare` of each item, in order; a thread makes the next one while the devices are busy with this one. What it
    raises is raised where the item is asked for."""

    def one() -> Any:
        item = next(items, _END)
        return item if item is _END else prepare(item)

    with contextlib.closing(items), ThreadPoolExecutor(1) as thread:
        upcoming = thread.submit(one)
        while (made := upcoming.result()) is not _END:
            upcoming = thread.submit(one)
            yield made


def num_steps(stage: str, *, epochs: float, max_steps: int, plan: Plan) -> int:
    """The steps of a stage. Raises InputError if there are none."""
    total = max_steps or int(epochs * plan.batches_per_epoch)
    if not total:
        raise InputError(f"{stage}.epochs: {epochs:g} of {plan.batches_per_epoch} batches is no update; raise it")
    return total


@dataclass(kw_only=True)
class StageLoop:
    """The loop of a stage, whose steps are counted from 0.

    stage: "sft" or "grpo", a directory of the run. title: what a person calls it. total: steps. updates: of the
    optimizer at each step. save_every: steps between checkpoints. identity: hashes of what must not change while a
    stage is made; all that a checkpoint has to fit to. refresh_page: rewrites the page of the run; called on process 0,
    every `PAGE_SECONDS` at most. guard, strict: what is warned of, and whether that ends the run. first: the step that
    the loop begins with.
    """

    run: Run
    stage: str
    title: str
    plan: Plan
    total: int
    optimizer: OptimizerOptions
    save_every: int
    identity: Mapping[str, str]
    refresh_page: Callable[[], None]
    updates: int = 1
    guard: GuardOptions = GuardOptions()
    strict: bool = False
    first: int = 0
    _directory: Path = field(init=False)
    _processes: int = field(init=False)
    _is_main: bool = field(init=False)
    _checkpoints: Checkpoints = field(init=False)
    _log: MetricLog | NoLog = field(init=False)
    _rates: np.ndarray = field(init=False)
    _watch: StageGuard = field(init=False)
    _advance: Callable[..., None] = field(init=False)
    _page_written: float = field(default=-math.inf, init=False)

    def __post_init__(self) -> None:
        self._directory = self.run.path(self.stage)
        self._checkpoints = Checkpoints(self._directory / "checkpoints")
        self._processes, self._is_main = processes.process_count(), processes.is_main()

    def resume(self, state: Any, meta: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """(state, meta) of the newest sound checkpoint, else those given. meta: JSON values that are saved too."""
        self._watch = StageGuard(stage=self.stage, options=self.guard, optimizer=self.optimizer, strict=self.strict)
        meta = meta | {"guard": self._watch.saved()}
        state, meta, self.first = resume(self._checkpoints, state, dict(self.identity), meta)
        self._watch.seen = Seen(**meta.pop("guard"))
        self._log = self.run.metrics(self.stage)
        self._log.truncate_after(self.first)
        updates = self.total * self.updates
        if self.optimizer.warmup > updates:
            raise InputError(
                f"{self.stage}.optimizer.warmup of {self.optimizer.warmup:g} updates is longer than the stage of "
                f"{updates}: its learning rate would never be reached; lower it, or give a share below 1"
            )
        self._rates = tabulate(learning_rate_schedule(self.optimizer, updates), updates)
        return state, meta

    @contextlib.contextmanager
    def running(self, stream: Generator) -> Iterator[None]:
        """Inside, progress is shown and SIGTERM is kept until a step has ended; the stream is closed in the end."""
        with (
            progress(self.total, self.title, self.first) as self._advance,
            contextlib.closing(stream),
            preemption.deferred(),
        ):
            yield

    def is_saved(self, step: int) -> bool:
        """Whether there is a checkpoint from before a step."""
        return step == self.first or step % self.save_every == 0

    def end_step(
        self,
        step: int,
        values: Mapping[str, Any],
        note: str,
        state: Any,
        meta: dict[str, Any],
        save: bool = False,
        ids: Sequence[str] = (),
        no_signal: str = "",
    ) -> None:
        """Logs a step, saves if it is time to (or if `save` says so), and ends the process if it was told to stop.

        values: what the step's row of metrics holds, with what `guarded_update` says of its last update. ids: of the
        clips of this process. no_signal: why there was nothing to learn from, "" if there was. Raises InputError where
        too many updates were not finite."""
        done, values = step + 1, dict(values)
        cause, change = int(values.pop("guard/cause", 0)), float(values.pop("guard/largest_change", 1.0))
        if cause:
            named = processes.exchange(json.dumps(list(ids)).encode(), "clips of an update that is not taken")
            ids = list(dict.fromkeys(one for part in named for one in json.loads(part)))
        taken = max(done * self.updates - self._watch.seen.all_bad, 1)
        rate, epoch = float(self._rates[taken - 1]), done / self.plan.batches_per_epoch
        self._log.write(done, {**values, "guard/bad_updates": int(cause > 0), "learning_rate": rate, "epoch": epoch})
        self._watch.check_update(done, cause, ids)
        self._advance(note=note)
        bad = self._watch.seen.bad >= self.guard.max_bad_steps
        if not cause:
            self._watch.check_learning(values, rate, change, no_signal)
        save = save or bad or done % self.save_every == 0 or done == self.total
        if save:
            self._save(done, state, meta)
        if bad:
            self._watch.end_if_bad(done, cause, str(self._directory / "checkpoints" / str(done)))
        if self._is_main and time.monotonic() - self._page_written >= PAGE_SECONDS:
            self.refresh_page()
            self._page_written = time.monotonic()
        self.stop_if_asked(done, state, meta, saved=save)

    def finish(self) -> str:
        """Writes the stage's summary.json, and returns its status: "learned", or "nothing_learned" after a warning."""
        status, seen = self._watch.finish(), self._watch.seen
        summary = {"stage": self.stage, "status": status, "bad_updates": seen.all_bad, "warnings": seen.told}
        if self._is_main:
            write_atomic(self._directory / "summary.json", json.dumps(summary, indent=1).encode() + b"\n")
        return status

    def write_answers(self, step: int, lines: bytes) -> None:
        """Writes answers of a step, JSON lines, for people to read."""
        if self._is_main:
            directory = self._directory / "completions"
            directory.mkdir(parents=True, exist_ok=True)
            write_atomic(directory / f"completions_{step + 1:05d}.jsonl", lines)

    def stop_if_asked(self, done: int, state: Any, meta: dict[str, Any], *, saved: bool) -> None:
        """Ends the process with code 42 if all processes agreed to stop, after a checkpoint of `done` steps is there.

        To be asked between two exchanges of the processes, as each of them has to find the same answer."""
        if preemption.is_agreed(self._processes):
            if not saved:
                self._save(done, state, meta)
            preemption.exit_saved(done, self.stage, self._is_main)

    def _save(self, done: int, state: Any, meta: dict[str, Any]) -> None:
        self._checkpoints.save(done, state, meta | {"guard": self._watch.saved()} | dict(self.identity))
