"""Whether a GRPO run would fit and how fast it might be, for devices that this machine does not have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from emsa_jax.config.edge import pick
from emsa_jax.errors import InputError
from emsa_jax.planning.compiled_cost import Planned
from emsa_jax.planning.longest_prompt import longest_prompt
from emsa_jax.planning.memory_advice import fit_grpo, grpo_advice
from emsa_jax.planning.plan_result import PHASE_OF_PROGRAM, PlanResult, with_costs
from emsa_jax.planning.roofline import Step, step_seconds
from emsa_jax.planning.topologies import Topology, topology
from emsa_jax.policy.hf_config import read_config
from emsa_jax.policy.parameter_table import num_params
from emsa_jax.policy.thinker_config import ThinkerConfig, preset
from emsa_jax.runtime.console import say
from emsa_jax.runtime.placement import Placement
from emsa_jax.settings.config import Config
from emsa_jax.settings.job_options import PlanOptions
from emsa_jax.settings.presets import SHARED
from emsa_jax.training.abstract_step import abstract_hints, abstract_step
from emsa_jax.training.memory_work import grpo_work
from emsa_jax.training.step import compile_grpo
from emsa_jax.training.step_functions import StepOptions

POLICIES = {"qwen2_5_omni_7b": "7B", "qwen2_5_omni_3b": "3B"}
_COMPILED = {  # programs of a step, by what `compile` asks for
    "no": (),
    "decode": ("sample",),
    "phases": (*PHASE_OF_PROGRAM, "layout"),
    "all": (*PHASE_OF_PROGRAM, "layout", "prefix", "hint", "reference", "old"),
}


def plan(options: PlanOptions) -> dict:
    """Compiles the programs of a step, says what that means for a run, and returns it; the last line on the standard
    output is the same as JSON.

    The process must have been prepared by `topologies.compile_without_devices`.
    """
    target, policy = topology(options.topology), policy_of(options)
    config = Config(stages=("grpo",), policy=options.policy, **{name: getattr(options, name) for name in SHARED})
    placement, reason = place_on(target, policy, config, compiled=options.compile != "no")
    shards, mesh = placement.sharding.num_shards, dict(placement.update.mesh.shape)
    placement.sharding.check(config.grpo.prompts_per_step, "grpo.prompts_per_step", config.grpo.micro_batches)
    shape, prompt = longest_prompt(options.prompt, policy, config.grpo.prompts_per_step // shards)
    say(
        f"{options.policy} ({num_params(policy) / 1e9:.2f} billion parameters, {options.dtype}) on {target.name}: "
        f"mesh {' x '.join(f'{name} {size}' for name, size in mesh.items())} ({reason})"
    )
    hints = abstract_hints(
        max_completion_length=config.sampling.max_completion_length,
        prompts=config.grpo.prompts_per_step,
        shards=shards,
    )
    work = grpo_work(
        config.grpo, dtype=config.dtype, lora=config.lora, answer_slots=hints.slots, reference=config.loss.beta > 0
    )
    work, estimate = fit_grpo(work, policy, placement, shape, target.chip.memory)
    config = replace(config, grpo=replace(config.grpo, micro_batches=work.micro_batches))
    programs = Planned(placement.decode, target.chip.memory, _COMPILED[options.compile])
    if options.compile != "no":
        base, reference, state, optimizer = abstract_step(policy, placement, work)
        compile_grpo(
            pick(StepOptions, config),
            policy,
            {shape.prompt: shape},
            base=base,
            reference=reference,
            state=state,
            optimizer=optimizer,
            hints=hints,
            placement=placement,
            programs=programs,
        )
    work = replace(work, remat=programs.remat if "update" in programs.costs else work.remat.replace("auto", "full"))
    answer_slots = config.sampling.max_completion_length
    step = Step.of(replace(work, answer_slots=answer_slots), policy, prompt)
    memory = with_costs(estimate, programs.costs)
    result = PlanResult(
        policy=options.policy,
        topology=options.topology,
        mesh=mesh,
        work=work,
        estimate=estimate,
        memory=memory,
        costs=programs.costs,
        seconds=step_seconds(step, target.chip, tuple(mesh.values()), target.slices),
        head_dim=policy.text.head_dim,
        advice=grpo_advice(memory, work, placement),
    )
    for line in result.lines():
        say(line)
    print(json.dumps(result.summary()), flush=True)
    return result.summary()


def place_on(target: Topology, policy: ThinkerConfig, config: Config, compiled: bool) -> tuple[Placement, str]:
    """The placement on the devices of a topology, and why its mesh has its sizes. compiled: whether programs will be
    compiled for them, for which their compilers have to be installed."""
    return Placement.on_topology(
        policy,
        target.described() if compiled else target.stand_ins(),
        target.chip.memory,
        mesh=config.mesh,
        dtype=config.dtype,
        trained=config.lora,
    )


def policy_of(options: PlanOptions) -> ThinkerConfig:
    """The policy that is planned for. Raises InputError if there is none of this name."""
    if options.policy in POLICIES:
        policy = preset(POLICIES[options.policy])
    elif Path(options.policy).is_dir():
        policy = read_config(options.policy)
    else:
        raise InputError(f"policy {options.policy!r} is neither a directory nor one of {', '.join(POLICIES)}")
    attention = options.attention
    if attention == "auto" and topology(options.topology).chip.platform == "gpu":
        attention = "plain"  # cuDNN's kernels want a GPU to be compiled; XLA's need more memory, never less
    return replace(policy, text=replace(policy.text, attention=attention))
