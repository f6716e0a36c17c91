"""Traces from a teacher: each sample of a directory of records is asked about, and every answer goes into a record."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from emsa_jax.data.records import RecordSource, read_index, read_manifest
from emsa_jax.distill.budget import Budget
from emsa_jax.distill.client import ChatClient
from emsa_jax.distill.cue_lines import write_cues
from emsa_jax.distill.distill_options import DistillOptions
from emsa_jax.distill.distill_plan import DistillPlan, LabelledSample, make_plan
from emsa_jax.distill.distillation import Distillation
from emsa_jax.distill.estimate import cost_so_far, estimate
from emsa_jax.distill.open_record import OpenRecord, open_record
from emsa_jax.distill.yields import count_yields
from emsa_jax.errors import InputError
from emsa_jax.manifest import write_atomic
from emsa_jax.report.yield_page import yield_page
from emsa_jax.runtime.console import progress, say


def distill(options: DistillOptions) -> None:
    """Asks for what is missing in `out`, writes the report, and prints the counts as JSON on the last line."""
    _check(options)
    manifest, entries = read_manifest(options.data), read_index(options.data, options.split)
    entries = entries[: options.max_clips] if options.max_clips else entries
    plan, is_chat = make_plan(options, manifest.score_range), options.teacher.kind == "chat"
    if not is_chat:
        from emsa_jax.distill.local_teacher import distill_locally, named_after_weights  # an endpoint needs no JAX

        plan = named_after_weights(plan, options.local)
    samples = plan.labelled(entries)
    if not samples:
        raise InputError(f"{options.data}: no sample of {options.split} has a score; a trace is checked against it")
    with open_record(options.out, plan.format.name) as record:
        if not options.dry_run and (changed := record.note_settings(plan, samples)):
            say(f"{changed} earlier answers were checked again, since the filter or the labels have changed")
        left = record.unsettled(plan, samples)
        unlabelled = len(entries) - len(samples)
        say(
            f"{len(samples)} samples, {len(left)} of them to be asked about"
            + (f"; {unlabelled} more have no score, and are left out" if unlabelled else "")
        )
        for line in estimate(plan, options.budget, left) if is_chat and left else ():
            say(line)
        if options.dry_run:
            return
        if is_chat:
            stopped = uvloop.run(_ask(plan, options, record, left, len(samples)))
        else:
            distill_locally(plan, options, record, left)
            stopped = ""
        _report(plan, options, record, samples, stopped)


def _check(options: DistillOptions) -> None:
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


async def _ask(
    plan: DistillPlan, options: DistillOptions, record: OpenRecord, left: Sequence[LabelledSample], total: int
) -> str:
    """Asks an endpoint about the samples. Returns why this ended early, "" if it did not."""
    loop, source = asyncio.get_running_loop(), RecordSource(options.data, options.split)
    spent = record.progress.spent
    async with ChatClient(plan.teacher) as client:
        work = Distillation(plan, source, record, client, Budget(options.budget, spent))
        for caught in (signal.SIGINT, signal.SIGTERM):  # answers under way are paid for, so they are awaited
            loop.add_signal_handler(caught, work.stop, "interrupted")
        try:
            with progress(total, "asking the teacher", total - len(left)) as advance:
                await work.run(left, lambda: advance(note=cost_so_far(spent, options.budget)))
        finally:
            for caught in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(caught)
    return work.stopped


def _report(
    plan: DistillPlan, options: DistillOptions, record: OpenRecord, samples: Sequence[LabelledSample], stopped: str
) -> None:
    """Writes the page and the counts, says what came of it, and prints the counts on the last line."""
    unsettled = {one.entry.id for one in record.unsettled(plan, samples)}
    counts, examples = count_yields(record.path, options.budget, options.samples, unsettled)
    counts["samples"]["in all"] = len(samples)
    counts["stopped"] = stopped
    page = record.directory / "yield.html"
    write_atomic(page, yield_page(counts, examples, plan.description()))
    write_cues(record.path, plan, samples)
    write_atomic(record.directory / "yield.json", json.dumps(counts, indent=1, ensure_ascii=False).encode() + b"\n")
    kept, aside = counts["samples"]["kept"], counts["samples"]["kept aside"]
    say(f"{kept} of {len(samples)} samples have a trace, {aside} were kept aside; why: {page}")
    for line in _advice(options, counts):
        say(line)
    print(json.dumps(counts), flush=True)


def _advice(options: DistillOptions, counts: dict[str, Any]) -> list[str]:
    """What to do next, in at most one line."""
    stopped = counts["stopped"]
    if stopped.startswith("budget."):
        return [
            f"stopped early ({stopped}): what the next request may cost is more than is left; raise "
            f"config.{stopped.partition('=')[0]} to go on where this one ended"
        ]
    if stopped:
        return [f"stopped early ({stopped}): the same command goes on where this one ended"]
    if counts["samples"]["kept"] and options.split == "train":
        learn = f"--config=configs/sft.py --config.data={options.data} --config.traces={options.out} --workdir=DIR"
        return [f"learn from them: {learn}"]
    return []
