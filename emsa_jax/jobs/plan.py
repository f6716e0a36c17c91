"""Would a GRPO run fit, and how fast might it be: its programs compiled for devices that are not there."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from emsa_jax.errors import InputError
from emsa_jax.parallel.batch_sharding import BatchSharding
from emsa_jax.parallel.mesh import Need, batch_shards, make_mesh
from emsa_jax.parallel.rules import DECODE, UPDATE
from emsa_jax.planning.compiled_cost import Cost, Planned, abstract_hints, abstract_step
from emsa_jax.planning.memory import SURE, MemoryPlan, gb, grpo_advice, grpo_memory, with_micro_batches
from emsa_jax.planning.planning_options import PromptShape
from emsa_jax.planning.roofline import Assumptions, Step, step_seconds
from emsa_jax.planning.topologies import Topology, topology
from emsa_jax.policy.inputs import InputShape, PromptInputs, build_inputs, smallest_shape
from emsa_jax.policy.layout import Layout
from emsa_jax.policy.lora import abstract_adapter
from emsa_jax.policy.parameter_table import num_params
from emsa_jax.policy.positions import num_audio_tokens
from emsa_jax.policy.prompt_row import Row, expand, patchify
from emsa_jax.policy.thinker_config import ThinkerConfig, preset, read_config
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import WIDTH, Placement, trained_bytes
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import PlanOptions
from emsa_jax.settings.presets import SHARED
from emsa_jax.training.step import compile_step
from emsa_jax.training.training_options import GrpoOptions

NAMES = {"qwen2_5_omni_7b": "7B", "qwen2_5_omni_3b": "3B"}
PROGRAMS = {"encode": "encode", "prefill": "prefill", "sample": "decode", "update": "update"}  # by phase
KINDS = {
    "phases": (*PROGRAMS, "layout"),
    "decode": ("sample",),
    "all": (*PROGRAMS, "layout", "prefix", "hint", "reference", "old"),
}


def plan(options: PlanOptions) -> dict:
    """Compiles, prints what it means, and returns it; the last line printed is the same as JSON.

    The process must be readied by `topologies.compile_without_devices`.
    """
    where, policy = topology(options.topology), _policy(options)
    config = Config(stages=("grpo",), policy=options.policy, **{name: getattr(options, name) for name in SHARED})
    devices = where.stand_ins() if options.compile == "no" else where.described()
    placement, why = place_on(config, policy, where, devices)
    shards = placement.sharding.num_shards
    placement.sharding.check(config.grpo.prompts_per_step, "grpo.prompts_per_step", config.grpo.micro_batches)
    each = config.grpo.prompts_per_step // shards
    budget, one = longest(options.prompt, policy, each)
    sizes = tuple(placement.update.mesh.shape.values())
    say(
        f"{options.policy} ({num_params(policy) / 1e9:.2f} billion parameters, {options.dtype}) on {where.name}: "
        f"mesh data {sizes[0]} x fsdp {sizes[1]} x tensor {sizes[2]} ({why})"
    )
    hints = abstract_hints(config, shards)

    def by_arithmetic(config: Config) -> MemoryPlan:
        return grpo_memory(config, policy, placement, budget, hints.slots, config.loss.beta > 0, where.chip.memory)

    config = with_micro_batches(config, "grpo", each, by_arithmetic)
    base, reference, state, optimizer = abstract_step(config, policy, placement)
    remat = "full" if config.grpo.remat == "auto" else config.grpo.remat
    by_formula = by_arithmetic(config)
    memory, costs = by_formula, {}
    if options.compile != "no":
        programs = Planned(placement.decode, where.chip.memory, KINDS[options.compile])
        compile_step(
            config, policy, {budget.prompt: budget}, base, reference, state, optimizer, hints, placement, programs
        )
        costs = programs.costs
        remat = programs.remat if "update" in costs else remat
        memory = _as_compiled(by_formula, costs)
    for line in memory.lines():
        say(line)
    step = Step(
        policy,
        abstract_adapter(policy, config.lora),
        one,
        config.grpo.prompts_per_step,
        config.grpo.group_size,
        config.sampling.max_completion_length,
        config.grpo.micro_batches,
        remat,
        config.loss.beta > 0,
        WIDTH[config.dtype],
    )
    seconds = step_seconds(step, where.chip, sizes, where.slices)
    cache = hints.slots, policy.text.head_dim
    _say_costs(costs, cache)
    say(f"a step by the roofline, s: {_listed(seconds, '.2f')}; assumed: {_listed(asdict(Assumptions()), 'g')}")
    say(_verdict(memory, options.compile == "no", grpo_advice(memory, config, placement)))
    found = _summary(options, config.grpo, sizes, memory, by_formula, costs, seconds, cache) | {"remat": remat}
    print(json.dumps(found), flush=True)
    return found


def place_on(config: Config, policy: ThinkerConfig, where: Topology, devices: Sequence[Any]) -> tuple[Placement, str]:
    """(placement on devices of a topology, why its mesh is what it is)."""
    need = Need(
        num_params(policy) * WIDTH[config.dtype],
        trained_bytes(policy, config.lora, "lora"),
        policy.text.num_attention_heads,
        policy.text.num_key_value_heads,
    )
    mesh, why = make_mesh(config.mesh, devices, need, where.chip.memory)
    return Placement(Layout(policy, mesh, UPDATE), Layout(policy, mesh, DECODE), BatchSharding(batch_shards(mesh))), why


def longest(shape: PromptShape, policy: ThinkerConfig, prompts: int) -> tuple[InputShape, PromptInputs]:
    """(budget of so many prompts of a shape, the inputs of one).

    Raises: InputError if its media alone are longer.
    """
    tokens, audios, videos = [], [], []
    if shape.frames:
        frames = np.zeros((shape.frames, shape.height, shape.width, 3), np.uint8)
        videos, tokens = [patchify(policy, frames)], [policy.video_token_id]
    mel = np.zeros((round(100 * shape.audio_seconds), policy.audio.num_mel_bins), np.float32)
    if num_audio_tokens(len(mel)):
        audios, tokens = [mel], [*tokens, policy.audio_token_id]
    tokens = expand(policy, tokens, audios, (), videos)
    if len(tokens) >= shape.tokens:
        raise InputError(f"prompt.tokens is {shape.tokens}, but frames and sound alone make {len(tokens)}")
    row = Row(tokens + [0] * (shape.tokens - len(tokens)), audios, [], videos)
    need = smallest_shape(policy, [row])
    return (
        replace(need, chunks=prompts * need.chunks, patch_rows=prompts * need.patch_rows),
        build_inputs(policy, [row]),
    )


def _policy(options: PlanOptions) -> ThinkerConfig:
    if options.policy in NAMES:
        policy = preset(NAMES[options.policy])
    elif Path(options.policy).is_dir():
        policy = read_config(options.policy)
    else:
        raise InputError(f"policy {options.policy!r} is neither a directory nor one of {', '.join(NAMES)}")
    attention = options.attention
    if attention == "auto" and topology(options.topology).chip.platform == "gpu":
        attention = "plain"  # cuDNN's kernels want a GPU to be compiled; XLA's need more memory, never less
    return replace(policy, text=replace(policy.text, attention=attention))


def _as_compiled(by_formula: MemoryPlan, costs: dict[str, Cost]) -> MemoryPlan:
    """The same plan with the compiler's numbers for what each compiled phase adds: temporaries and results."""
    phases = dict(by_formula.phases)
    for kind, phase in PROGRAMS.items():
        if kind not in costs:
            continue
        parts = by_formula.phases[phase]
        given = {"encode": (), "prefill": ("prompts",), "decode": ("prompts", "prompt cache"), "update": ("prompts",)}
        phases[phase] = {name: parts[name] for name in given[phase]} | {
            "temporaries": costs[kind].temporaries,
            "results": costs[kind].results - costs[kind].aliased,
        }
    return MemoryPlan(by_formula.held, phases, by_formula.there)


def _say_costs(costs: dict[str, Cost], cache: tuple[int, int]) -> None:
    for kind, cost in costs.items():
        say(f"{kind}: compiled in {cost.seconds:.0f} s" + (f"; {cost.failure}" if cost.failure else ""))
    if "sample" in costs and not costs["sample"].failure:
        cost = costs["sample"]
        sent = ", ".join(f"{count} {name} {gb(size)}" for name, (count, size) in cost.sent.items()) or "nothing"
        say(
            f"in the token loops: {gb(cost.gathered)} of weights gathered, {gb(cost.copied)} copied again; sent: "
            f"{sent}; caches written in place: {'yes' if cost.in_place(*cache) else 'no'}"
        )


def _verdict(memory: MemoryPlan, by_formula: bool, advice: str) -> str:
    need = memory.need(memory.worst)
    told = f"{memory.worst} needs {gb(need)} of {gb(memory.there)}"
    if not memory.fits:
        return f"does not fit: {told}; {advice}"
    if by_formula and need > SURE * memory.there:
        return f"may fit: {told}, and arithmetic errs by up to 15%; compile it to know"
    return f"fits: {told}"


def _summary(
    options: PlanOptions,
    grpo: GrpoOptions,
    sizes: tuple[int, ...],
    memory: MemoryPlan,
    by_formula: MemoryPlan,
    costs: dict[str, Cost],
    seconds: dict[str, float],
    cache: tuple[int, int],
) -> dict:
    sample = costs.get("sample")
    return {
        "fit": memory.fits,
        "policy": options.policy,
        "topology": options.topology,
        "devices": math.prod(sizes),
        "mesh": dict(zip(("data", "fsdp", "tensor"), sizes, strict=True)),
        "prompts_per_step": grpo.prompts_per_step,
        "micro_batches": grpo.micro_batches,
        "bytes_there": memory.there,
        "bytes_needed": memory.need(memory.worst),
        "worst": memory.worst,
        "held": dict(memory.held),
        "phases": {phase: memory.need(phase) for phase in memory.phases},
        "phases_by_formula": {phase: by_formula.need(phase) for phase in by_formula.phases},
        "compile_seconds": {kind: round(cost.seconds, 1) for kind, cost in costs.items()},
        "step_seconds": {name: float(f"{value:.4g}") for name, value in seconds.items()},
        "token_loop": None
        if sample is None or sample.failure
        else {
            "weights_gathered": sample.gathered,
            "copied": sample.copied,
            "in_place": sample.in_place(*cache),
            "collectives": {name: count for name, (count, _) in sample.sent.items()},
        },
    }


def _listed(values: dict[str, float], form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())
