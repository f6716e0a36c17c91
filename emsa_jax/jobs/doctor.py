"""Looks whether this machine is ready for a run, and says for each thing what to do."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from emsa_jax.distill.network import key_from
from emsa_jax.errors import InputError
from emsa_jax.parallel.parallel_options import MeshOptions
from emsa_jax.planning.longest_prompt import longest_prompt
from emsa_jax.planning.memory import SURE, AnswerWork, MemoryPlan, answer_memory, gb, grpo_memory
from emsa_jax.policy.hf import read_checked_config
from emsa_jax.policy.parameter_table import num_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.runtime.console import say
from emsa_jax.runtime.machine_checks import (
    Finding,
    check_device,
    check_disk,
    check_endpoint,
    check_packages,
    check_python,
)
from emsa_jax.runtime.placement import Placement
from emsa_jax.settings.job_options import DoctorOptions
from emsa_jax.training.dry_step import dry_step
from emsa_jax.training.memory_work import grpo_work
from emsa_jax.training.training_options import GrpoOptions


def doctor(options: DoctorOptions) -> None:
    """Prints a line for each finding as it comes, or all of them as JSON. Ends the process with 1 for a fault."""
    found = []
    if options.step and not options.json:
        say("the last of these compiles a step, which takes a minute or two; --config.step=False leaves it out")
    for finding in findings(options):
        found.append(finding)
        if not options.json:
            say(finding.line())
    if options.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in found]), flush=True)
    if any(finding.status == "fault" for finding in found):
        sys.exit(1)


def findings(options: DoctorOptions) -> Iterator[Finding]:
    """All findings; without devices those that need none."""
    yield check_python()
    yield check_packages()
    yield check_disk(options.place)
    yield (devices := check_device())
    if devices.status != "fault":
        if options.policy:
            yield from check_policy(options)
        if options.step:
            yield check_step()
    if options.base_url:
        yield check_endpoint(options.base_url, key_from(options.key_env))


def check_step() -> Finding:
    """Whether a step of GRPO works; what any library raises is a finding."""
    begun = time.monotonic()
    try:
        metrics = dry_step()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return Finding("step", "fault", reason, "JAX, its plugin or a driver do not fit together: install them again")
    if not all(map(math.isfinite, metrics.values())):
        return Finding("step", "fault", "a step gives numbers that are not finite", "do not train on this device")
    return Finding("step", "ok", f"encoded, sampled and updated a tiny policy in {time.monotonic() - begun:.0f} s")


def check_policy(options: DoctorOptions) -> Iterator[Finding]:
    """Whether a policy directory is sound, and answers and a step of GRPO with an adapter fit into memory."""
    lora, grpo = LoraOptions(), GrpoOptions(group_size=options.group_size, remat="full")
    try:
        policy = read_checked_config(Path(options.policy).expanduser())
        yield Finding("policy", "ok", f"{options.policy} is sound: {num_params(policy) / 1e6:.4g} M parameters")
        placement = Placement.of(policy, mesh=MeshOptions(), dtype=options.dtype, trained=None, announce=False)
        shape, _ = longest_prompt(options.prompt, policy, 1)
        slots = options.max_completion_length
        rows = placement.sharding.num_shards
        work = AnswerWork(dtype=options.dtype, adapter=None, batch_size=rows, answers=1, answer_slots=slots)
        yield _memory("answering", answer_memory(work, policy, placement, shape), "fault", options)
    except InputError as error:
        yield Finding("policy", "fault", str(error))
        return
    try:
        placement = Placement.of(policy, mesh=MeshOptions(), dtype=options.dtype, trained=lora, announce=False)
        shards = placement.sharding.num_shards
        prompts = -(-GrpoOptions().prompts_per_step // shards)  # of each shard; one at a time takes least
        grpo = dataclasses.replace(grpo, prompts_per_step=prompts * shards, micro_batches=prompts)
        shape, _ = longest_prompt(options.prompt, policy, prompts)
        steps = grpo_work(grpo, dtype=options.dtype, lora=lora, answer_slots=slots, reference=True)
        yield _memory("training", grpo_memory(steps, policy, placement, shape), "warning", options)
    except InputError as error:
        yield Finding("training", "warning", str(error))


def _memory(about: str, plan: MemoryPlan, otherwise: str, options: DoctorOptions) -> Finding:
    """A finding of a memory plan. otherwise: the status where it does not fit."""
    need = plan.need(plan.worst)
    text = f"needs {gb(need)} of {gb(plan.capacity)} on each device, most in {plan.worst} ({options.dtype})"
    if need <= SURE * plan.capacity:
        return Finding(about, "ok", text)
    advice = "shorten config.prompt or answers, take config.dtype=bfloat16, or more devices (emsa plan)"
    return Finding(about, otherwise if not plan.fits else "warning", text, advice)
