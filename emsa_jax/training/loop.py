"""What the loops of all stages have in common: host work done ahead, going on where a killed run stopped, and what ends
every step."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emsa_jax.data.batch_order import Plan
from emsa_jax.errors import InputError
from emsa_jax.json_file import misfit, read_json_rows
from emsa_jax.learning.checkpoints import Checkpoints
from emsa_jax.learning.guard import CAUSES
from emsa_jax.learning.learning_options import GuardOptions, OptimizerOptions
from emsa_jax.learning.optimizer import learning_rate_schedule
from emsa_jax.manifest import write_atomic
from emsa_jax.parallel import preemption, processes
from emsa_jax.runtime.console import progress, say
from emsa_jax.runtime.metric_log import MetricLog, NoLog
from emsa_jax.runtime.programs import tabulate
from emsa_jax.runtime.resume import resume
from emsa_jax.runtime.run import Run
from emsa_jax.training.artifacts import SUMMARY
from emsa_jax.training.phases import Begun, Phase
from emsa_jax.training.stage_guard import Seen, StageGuard
from emsa_jax.training.training_options import MOST_STEPS
from emsa_jax.training.validation import Look, Progress

BAD_UPDATES = "bad_updates.jsonl"  # of a stage's directory: the steps with an update that was not taken
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


def num_steps(
    stage: str, plan: Plan, optimizer: OptimizerOptions, *, epochs: float, max_steps: int, updates: int = 1
) -> int:
    """The steps of a stage. updates: of each step. Raises InputError if there are none, or if they end before the
    warm-up of the learning rate does."""
    total = max_steps or int(epochs * plan.batches_per_epoch)
    if not total:
        raise InputError(f"{stage}.epochs: {epochs:g} of {plan.batches_per_epoch} batches is no update; raise it")
    if total * updates > MOST_STEPS:
        raise InputError(f"{stage}: {total * updates} updates are more than the {MOST_STEPS} that a stage may have")
    if optimizer.warmup > total * updates:
        raise InputError(
            f"{stage}.optimizer.warmup of {optimizer.warmup:g} updates is longer than the stage of {total * updates}: "
            "its learning rate would never be reached; lower it, or give a share below 1"
        )
    return total


def cut_after(path: Path, step: int) -> None:
    """Removes the rows of later steps, which a stage that goes on will make again."""
    if path.exists():
        rows = read_json_rows(path, "remove it")
        if wrong := next(filter(None, (misfit(row.get("step"), int, "step") for row in rows)), ""):
            raise InputError(f"{path} is damaged ({wrong}); remove it")
        lines = filter(None, path.read_bytes().split(b"\n"))
        write_atomic(path, b"".join(line + b"\n" for line, row in zip(lines, rows, strict=True) if row["step"] <= step))


@dataclass(kw_only=True)
class StageLoop:
    """The loop of a stage, whose steps are counted from 0.

    stage: "sft" or "grpo", a directory of the run. title: what a person calls it. total: the step that the phase ends
    with, at first the steps of the stage. optimizer: of the phase. updates: of the optimizer at each step. save_every:
    steps between checkpoints. identity: hashes of what must not change while a stage is made; all that a checkpoint has
    to fit to. refresh_page: rewrites the page of the run; called on process 0, every `PAGE_SECONDS` at most. guard,
    strict: what is warned of, and whether that ends the run. warned: what was warned of before the loop. more: the
    phases after the first. first: the step that the phase begins with, or goes on with.
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
    warned: Sequence[str] = ()
    more: Sequence[Phase] = ()
    first: int = 0
    _directory: Path = field(init=False)
    _processes: int = field(init=False)
    _is_main: bool = field(init=False)
    _checkpoints: Checkpoints = field(init=False)
    _log: MetricLog | NoLog = field(init=False)
    _rates: np.ndarray = field(init=False)
    _watch: StageGuard = field(init=False)
    _phases: tuple[Phase, ...] = field(init=False)
    _begun: Begun = field(init=False)
    _done: int = field(default=0, init=False)
    _advance: Callable[..., None] = field(init=False)
    _page_written: float = field(default=-math.inf, init=False)
    _summarized: int = field(default=0, init=False)  # warnings in summary.json

    def __post_init__(self) -> None:
        self._directory = self.run.path(self.stage)
        self._checkpoints = Checkpoints(self._directory / "checkpoints")
        self._processes, self._is_main = processes.process_count(), processes.is_main()
        self._phases = (Phase(self.total, self.optimizer), *self.more)

    def resume(self, state: Any, meta: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """(state, meta) of the newest sound checkpoint, else those given. meta: JSON values that are saved too."""
        self._watch = StageGuard(stage=self.stage, options=self.guard, optimizer=self.optimizer, strict=self.strict)
        meta = meta | {"guard": self._watch.saved(), "phase": astuple(Begun())}
        state, meta, self.first = resume(self._checkpoints, state, dict(self.identity), meta, may_lack=("phase",))
        self._done = self.first
        self._watch.seen = Seen(**meta.pop("guard"))
        self._begin(Begun(*meta.pop("phase")))
        known = self._watch.seen.warnings
        self._watch.seen.told = [[line, line] for line in self.warned if line not in known] + self._watch.seen.told
        self._watch.end_if_strict()
        self._log = self.run.metrics(self.stage)
        self._log.truncate_after(self.first)
        if self._is_main:
            cut_after(self._directory / BAD_UPDATES, self.first)
        return state, meta

    def _begin(self, begun: Begun) -> None:
        """Makes a phase the one that is at work."""
        if begun.number >= len(self._phases):
            raise InputError(
                f"{self._checkpoints.directory}: its steps are of phase {begun.number + 1}, and {self.stage}.extend "
                f"names {len(self._phases) - 1} after the first; give {self.stage}.extend as it was"
            )
        phase, self._begun = self._phases[begun.number], begun
        self.total, self.optimizer = begun.first + phase.steps, phase.optimizer
        self._rates = tabulate(learning_rate_schedule(phase.optimizer, self.phase_updates), self.phase_updates)

    @property
    def phase_updates(self) -> int:
        """Updates of the optimizer in the phase."""
        return self._phases[self._begun.number].steps * self.updates

    def phases(self, ended: Callable[[], bool] = lambda: False) -> Iterator[bool]:
        """Makes the phases that are left the one at work, in turn; yields whether it begins anew, with an optimizer of
        its own. One that has ended before is passed over. ended: whether a phase has ended before its last step."""
        if self._done < self.total and not ended():
            yield False
        while self._begun.number + 1 < len(self._phases):
            self.first = self._done
            self._begin(Begun(self._begun.number + 1, self._done, self._watch.seen.all_bad))
            say(
                f"{self.title}: {self.total - self.first} further steps after step {self.first}, with a peak learning "
                f"rate of {self.optimizer.learning_rate:g}"
            )
            yield True

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

        values: what the step's row of metrics holds, with what `guarded_update` says of its updates. ids: of the clips
        of this process. no_signal: why there was nothing to learn from, "" if there was. Raises InputError where too
        many updates were not finite, or a warning ends the run; the step is saved before."""
        done, values, watch = step + 1, dict(values), self._watch
        self._done = done
        cause, change = int(values.pop("guard/cause", 0)), float(values.pop("guard/largest_change", 1.0))
        bad = int(values.pop("guard/bad_updates", cause > 0))
        if bad:
            ids = self._list_bad_update(done, cause, bad, ids)
        watch.check_update(done, cause, bad, ids, f"{self.stage}/{BAD_UPDATES}")
        made = (done - self._begun.first) * self.updates - (watch.seen.all_bad - self._begun.bad)
        rate = float(self._rates[max(made, 1) - 1])
        epoch = done / self.plan.batches_per_epoch
        self._log.write(done, {**values, "guard/bad_updates": bad, "learning_rate": rate, "epoch": epoch})
        self._advance(note=note)
        if bad < self.updates:
            watch.check_learning(values, rate, change, no_signal)
        ends = watch.seen.bad >= self.guard.max_bad_steps or (self.strict and watch.seen.told)
        save = bool(save or ends or done % self.save_every == 0 or done == self.total)
        if save:
            self._save(done, state, meta)
        if len(watch.seen.told) > self._summarized:
            self._write_summary("training")
        if ends:
            self._write_page()
            watch.end_if_bad(done, cause, str(self._directory / "checkpoints" / str(done)))
            watch.end_if_strict()
        if time.monotonic() - self._page_written >= PAGE_SECONDS:
            self._write_page()
        self.stop_if_asked(done, state, meta, saved=save)

    def note_answers(self, step: int, look: Look, kept: bool, at_once: bool = False) -> None:
        """Notes what the greedy answers after a step say of the policy; see `StageGuard.check_answers`."""
        self._watch.check_answers(step + 1, look, kept, at_once)

    def finish(self, progress: Progress | None = None, last: bool = True) -> str:
        """Writes the stage's summary.json, and returns its status: "learned", or after a warning "nothing_learned" or
        "collapsed".

        progress: where the validation split was looked at. last: as for `StageGuard.finish`. Raises InputError where a
        warning ends the run."""
        status, looked = self._watch.finish(last), progress is not None and progress.best_step
        best = {"best_step": progress.best_step, "best_reward": progress.best_reward} if looked else {}
        self._write_summary(status, best)
        if self.strict and self._watch.seen.told:
            self._write_page()
        self._watch.end_if_strict()
        return status

    def _list_bad_update(self, done: int, cause: int, bad: int, ids: Sequence[str]) -> list[str]:
        """The ids of a step's clips on all processes, after they were written to a file."""
        named = processes.exchange(json.dumps(list(ids)).encode(), "clips of an update that is not taken")
        ids = list(dict.fromkeys(one for part in named for one in json.loads(part)))
        row = {"step": done, "updates": bad, "cause": CAUSES[cause], "clips": ids}
        if self._is_main:
            path = self._directory / BAD_UPDATES
            earlier = path.read_bytes() if path.exists() else b""
            write_atomic(path, earlier + json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
        return ids

    def _write_summary(self, status: str, more: Mapping[str, Any] | None = None) -> None:
        seen = self._watch.seen
        self._summarized = len(seen.told)
        summary = {"stage": self.stage, "status": status, "bad_updates": seen.all_bad, "warnings": seen.warnings}
        if self._is_main:
            text = json.dumps(summary | dict(more or {}), indent=1, allow_nan=False)
            write_atomic(self._directory / SUMMARY, text.encode() + b"\n")

    def _write_page(self) -> None:
        if self._is_main:
            self.refresh_page()
            self._page_written = time.monotonic()

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
        ours = {"guard": self._watch.saved(), "phase": astuple(self._begun)}
        self._checkpoints.save(done, state, meta | ours | dict(self.identity))
