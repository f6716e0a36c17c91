"""What a plan has found: as lines that a person reads, and as one JSON object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from emsa_jax.planning.compiled_cost import Cost
from emsa_jax.planning.memory import SURE, GrpoWork, MemoryPlan, gb
from emsa_jax.planning.roofline import Assumptions

# The compiled program of each phase of `grpo_memory`, and what the phase holds beside what the program itself needs.
PHASE_OF_PROGRAM = {"encode": "encode", "prefill": "prefill", "sample": "decode", "update": "update"}
_GIVEN = {"encode": (), "prefill": ("prompts",), "decode": ("prompts", "prompt cache"), "update": ("prompts",)}


@dataclass(frozen=True, kw_only=True)
class PlanResult:
    """What is known of a GRPO step on devices that may not be in this machine.

    Attributes:
      policy, topology: as the user named them.
      mesh: sizes of the axes of the mesh, by name.
      work: the step, its micro-batches and its `remat` as they were chosen.
      estimate: the memory plan by arithmetic. memory: the same with the compiler's numbers where there are some.
      costs: what the compiler says of each program that was compiled, by the program's name.
      seconds: of the phases of a step, by the roofline.
      head_dim: of the decoder, the last dimension of its caches.
      advice: what to change where the step does not fit.
    """

    policy: str
    topology: str
    mesh: Mapping[str, int]
    work: GrpoWork
    estimate: MemoryPlan
    memory: MemoryPlan
    costs: Mapping[str, Cost]
    seconds: Mapping[str, float]
    head_dim: int
    advice: str

    @property
    def loop_cost(self) -> Cost | None:
        """The cost of the program with the token loops, None if it was not compiled."""
        cost = self.costs.get("sample")
        return None if cost is None or cost.failure else cost

    @property
    def verdict(self) -> str:
        """One line: whether the step fits."""
        memory = self.memory
        need = memory.need(memory.worst)
        worst = f"{memory.worst} needs {gb(need)} of {gb(memory.capacity)}"
        if not memory.fits:
            return f"does not fit: {worst}; {self.advice}"
        if not self.costs and need > SURE * memory.capacity:
            return f"may fit: {worst}, and arithmetic errs by up to 15%; compile it to know"
        return f"fits: {worst}"

    def lines(self) -> list[str]:
        """Everything that is printed for a person, the verdict last."""
        lines = self.memory.lines()
        for name, cost in self.costs.items():
            lines.append(f"{name}: compiled in {cost.seconds:.0f} s" + (f"; {cost.failure}" if cost.failure else ""))
        if cost := self.loop_cost:
            sent = ", ".join(f"{count} {name} {gb(size)}" for name, (count, size) in cost.sent.items()) or "nothing"
            in_place = "yes" if cost.in_place(self.work.answer_slots, self.head_dim) else "no"
            lines.append(
                f"in the token loops: {gb(cost.gathered)} of weights gathered, {gb(cost.copied)} copied again; sent: "
                f"{sent}; caches written in place: {in_place}"
            )
        assumed = _join(asdict(Assumptions()), "g")
        lines.append(f"a step by the roofline, s: {_join(self.seconds, '.2f')}; assumed: {assumed}")
        return [*lines, self.verdict]

    def summary(self) -> dict[str, Any]:
        """The same for programs: JSON-like values."""
        memory = self.memory
        return {
            "fit": memory.fits,
            "policy": self.policy,
            "topology": self.topology,
            "devices": math.prod(self.mesh.values()),
            "mesh": dict(self.mesh),
            "prompts_per_step": self.work.prompts,
            "micro_batches": self.work.micro_batches,
            "bytes_there": memory.capacity,
            "bytes_needed": memory.need(memory.worst),
            "worst": memory.worst,
            "held": dict(memory.held),
            "phases": {phase: memory.need(phase) for phase in memory.phases},
            "phases_by_formula": {phase: self.estimate.need(phase) for phase in self.estimate.phases},
            "compile_seconds": {name: round(cost.seconds, 1) for name, cost in self.costs.items()},
            "step_seconds": {name: float(f"{value:.4g}") for name, value in self.seconds.items()},
            "token_loop": self._token_loop(),
            "remat": self.work.remat,
        }

    def _token_loop(self) -> dict[str, Any] | None:
        if (cost := self.loop_cost) is None:
            return None
        return {
            "weights_gathered": cost.gathered,
            "copied": cost.copied,
            "in_place": cost.in_place(self.work.answer_slots, self.head_dim),
            "collectives": {name: count for name, (count, _) in cost.sent.items()},
        }


def with_costs(estimate: MemoryPlan, costs: Mapping[str, Cost]) -> MemoryPlan:
    """The memory plan with the compiler's temporaries and results in each phase whose program was compiled."""
    phases = dict(estimate.phases)
    for name, phase in PHASE_OF_PROGRAM.items():
        if name in costs:
            phases[phase] = {given: estimate.phases[phase][given] for given in _GIVEN[phase]} | {
                "temporaries": costs[name].temporaries,
                "results": costs[name].results - costs[name].aliased,
            }
    return MemoryPlan(estimate.held, phases, estimate.capacity)


def _join(values: Mapping[str, float], form: str) -> str:
    return ", ".join(f"{name} {value:{form}}" for name, value in values.items())
