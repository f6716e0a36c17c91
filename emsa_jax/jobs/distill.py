"""Traces from a teacher: each sample of a directory of records is asked about, and every answer goes into a record."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import uvloop

from emsa_jax.answers.formats import make_format
from emsa_jax.answers.recorded_traces import RECORD, RECORD_FORMAT
from emsa_jax.append_log import AppendLog
from emsa_jax.config.edge import to_dict
from emsa_jax.data.records import Entry, RecordSource, read_index, read_manifest
from emsa_jax.distill.budget import Budget
from emsa_jax.distill.checks import Truth
from emsa_jax.distill.client import ChatClient
from emsa_jax.distill.distill_options import DistillOptions
from emsa_jax.distill.distill_plan import DistillPlan
from emsa_jax.distill.distillation import Distillation, recheck
from emsa_jax.distill.estimate import estimate
from emsa_jax.distill.progress import Progress, next_step
from emsa_jax.distill.teacher_options import BudgetOptions
from emsa_jax.distill.teacher_prompts import read_prompts
from emsa_jax.distill.yields import yields
from emsa_jax.errors import InputError
from emsa_jax.manifest import write_atomic
from emsa_jax.report.yield_page import yield_page
from emsa_jax.runtime.console import progress as progress_of
from emsa_jax.runtime.console import say


def distill(options: DistillOptions) -> None:
    """Asks for what is missing in `out`, writes the report, and prints the counts as JSON on the last line."""
    for name, example in (("data", "data/sims"), ("out", "data/sims_traces")):
        if not getattr(options, name):
            raise InputError(f"config.{name}: name a directory, such as {example}")
    if options.teacher.kind == "chat" and not (options.teacher.url and options.teacher.model):
        raise InputError("config.teacher: name the endpoint (teacher.url, teacher.model), or use teacher.kind=policy")
    if Path(options.data).is_file():
        raise InputError(
            f"config.data: {options.data} is a file; prepare it (configs/prepare.py), and give the "
            "directory of records that this makes"
        )
    manifest = read_manifest(options.data)
    entries = read_index(options.data, options.split)
    entries = entries[: options.max_clips] if options.max_clips else entries
    plan = DistillPlan(
        method=options.format,
        format=make_format(options.format, manifest.score_range, options.neutral_eps, options.concepts),
        prompts=read_prompts((options.format, "refine", "judge"), options.templates),
        teacher=options.teacher,
        filter=options.filter,
        attempts=options.attempts,
        refine=options.refine,
        seed=options.seed,
        neutral_eps=options.neutral_eps,
    )
    if options.teacher.kind == "policy":
        from emsa_jax.distill.local_teacher import distill_locally, named  # JAX, which an endpoint does not need

        plan = named(plan, options.local)
    samples = [(index, entry, truth) for index, entry in enumerate(entries) if (truth := plan.truth(entry))]
    _check_labels(plan, samples)
    if not samples:
        raise InputError(f"{options.data}: no sample of {options.split} has a score; a trace is checked against it")
    with _hold(Path(options.out)) as out:
        progress = Progress()
        record = AppendLog(out / RECORD, RECORD_FORMAT, progress.take)
        try:
            if others := progress.formats - {plan.format.name}:
                raise InputError(
                    f"config.out: {out} holds traces of format={', '.join(others)}; name another "
                    f"directory for format={plan.format.name}"
                )
            if not options.dry_run:
                _note_settings(plan, record, progress, samples)
            left = _left(plan, progress, samples, unlabelled=len(entries) - len(samples))
            if options.teacher.kind == "chat" and left:
                for line in estimate(plan, options.budget, left):
                    say(line)
            if options.dry_run:
                return
            if options.teacher.kind == "chat":
                stopped = uvloop.run(_ask(plan, options, record, progress, left, len(samples)))
            else:
                distill_locally(
                    plan, options.local, options.concepts, options.data, options.split, record, progress, left
                )
                stopped = ""
        except OSError as error:
            raise InputError(f"{out}: cannot be written: {error.strerror}") from error
        finally:
            record.close()
        _finish(plan, options, out, progress, samples, stopped)


def _check_labels(plan: DistillPlan, samples: list[tuple[int, Entry, Truth]]) -> None:
    """Raises InputError naming a sample with a concept that the answer format has no label for."""
    for _, entry, truth in samples if hasattr(plan.format, "truth") else ():
        try:
            plan.format.truth(truth.score, truth.concepts, truth.language)
        except InputError as error:
            raise InputError(f"clip {entry.id!r}: {error}") from error


@contextlib.contextmanager
def _hold(out: Path) -> Iterator[Path]:
    """The directory, held by this process alone until the end (or its death)."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = open(out / ".lock", "a")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise InputError(f"config.out: cannot use {out}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"config.out: another distill is at work in {out}; wait for it") from error
        yield out


def _note_settings(plan: DistillPlan, record: AppendLog, progress: Progress, samples) -> None:
    """Notes what is asked for, and looks again at what other checks decided."""
    settings = plan.settings()
    if settings["hash"] not in progress.settings:
        record.append(settings)
    if changed := recheck(plan, record, progress, {entry.id: truth for _, entry, truth in samples}):
        say(f"{changed} earlier answers were checked again, since the filter or the labels have changed")


def _left(plan: DistillPlan, progress: Progress, samples, unlabelled: int) -> list[tuple[int, Entry, Truth]]:
    """What is left to be asked about."""
    left = _unsettled(plan, progress, samples)
    say(
        f"{len(samples)} samples, {len(left)} of them to be asked about"
        + (f"; {unlabelled} more have no score, and are left out" if unlabelled else "")
    )
    return left


def _unsettled(plan: DistillPlan, progress: Progress, samples) -> list[tuple[int, Entry, Truth]]:
    return [one for one in samples if next_step(progress.sample(one[1].id), plan.asks, plan.attempts, plan.refine)]


async def _ask(
    plan: DistillPlan, options: DistillOptions, record: AppendLog, progress: Progress, left, total: int
) -> str:
    """Asks about the samples; returns why it ended early, "" if it did not."""
    loop = asyncio.get_running_loop()
    async with ChatClient(plan.teacher) as client:
        work = Distillation(
            plan,
            RecordSource(options.data, options.split),
            record,
            progress,
            client,
            Budget(options.budget, progress.spent),
        )
        for caught in (signal.SIGINT, signal.SIGTERM):  # answers under way are paid for: they are awaited
            loop.add_signal_handler(caught, work.stop, "interrupted")
        try:
            with progress_of(total, "asking the teacher", total - len(left)) as advance:
                await work.run(left, lambda: advance(note=_note(progress, options.budget)))
        finally:
            for caught in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(caught)
    return work.stopped


def _note(progress: Progress, prices: BudgetOptions) -> str:
    spent = progress.spent
    money = spent.money(prices.price_prompt, prices.price_answer)
    return f"{spent.requests:,} requests, {spent.tokens:,} tokens" + (f", cost {money:,.2f}" if money else "")


def _finish(plan: DistillPlan, options: DistillOptions, out: Path, progress: Progress, samples, stopped: str) -> None:
    """The report, and the counts on the last line."""
    unsettled = {entry.id for _, entry, _ in _unsettled(plan, progress, samples)}
    counts, examples = yields(out / RECORD, options.budget, options.samples, unsettled)
    counts["samples"]["in all"] = total = len(samples)
    counts["stopped"] = stopped
    made = {
        "teacher": plan.teacher.model or "our own policy",
        "format": plan.format.name,
        "attempts": plan.attempts,
        "refined": plan.refine,
        "filter": to_dict(plan.filter),
        "seed": plan.seed,
        "prompts": ", ".join(f"{name} {sha[:12]}" for name, sha in plan.prompts.hashes.items()),
    }
    write_atomic(out / "yield.html", yield_page(counts, examples, made))
    write_atomic(out / "yield.json", json.dumps(counts, indent=1, ensure_ascii=False).encode() + b"\n")
    kept, aside = counts["samples"]["kept"], counts["samples"]["kept aside"]
    say(f"{kept} of {total} samples have a trace, {aside} were kept aside; why: {out / 'yield.html'}")
    if stopped.startswith("budget."):
        say(
            f"stopped early ({stopped}): what the next request may cost is more than is left; raise "
            f"config.{stopped.partition('=')[0]} to go on where this one ended"
        )
    elif stopped:
        say(f"stopped early ({stopped}): the same command goes on where this one ended")
    elif kept and options.split == "train":
        say(
            f"learn from them: --config=configs/sft.py --config.data={options.data} --config.traces={out} --workdir=DIR"
        )
    print(json.dumps(counts), flush=True)
