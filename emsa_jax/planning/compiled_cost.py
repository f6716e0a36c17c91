"""A run's programs compiled from shapes alone, and what the compiler says of them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax

from emsa_jax.planning import hlo
from emsa_jax.policy.layout import Layout
from emsa_jax.rollout.sampler import cache_sizes
from emsa_jax.runtime.programs import MEMORY_LIMIT, Program, Programs


@dataclass(frozen=True)
class Cost:
    """Bytes of one device. arguments, results: as the program is given and gives them; aliased: results written over
    arguments; temporaries: all between. seconds: of compilation. in_loops: what its loops send and copy."""

    arguments: int
    results: int
    aliased: int
    temporaries: int
    seconds: float
    in_loops: tuple[hlo.Moved, ...] = ()
    failure: str = ""

    @property
    def added(self) -> int:
        """What the program needs beside its arguments."""
        return self.temporaries + self.results - self.aliased

    @property
    def gathered(self) -> int:
        """Bytes that a loop gathers again at every turn of things that it does not change: weights."""
        return self._most(m for m in self.in_loops if m.unchanged and m.op == "all-gather")

    @property
    def copied(self) -> int:
        """Bytes that a loop copies at every turn of things that it does not change; the layers of a loop inside count
        once."""
        return self._most(m for m in self.in_loops if m.unchanged and m.op not in hlo.COLLECTIVES)

    @staticmethod
    def _most(found: Iterable[hlo.Moved]) -> int:
        """Bytes of the outermost loop that has most."""
        sizes: dict[str, int] = {}
        for m in found:
            sizes[m.loop] = sizes.get(m.loop, 0) + m.bytes
        return max(sizes.values(), default=0)

    def in_place(self, slots: int, head_dim: int) -> bool:
        """Whether no loop copies a cache of at most so many answer slots that it writes to, [.., slots, head_dim]."""
        caches = {(size, head_dim) for size in cache_sizes(slots)}
        return not any(
            m.op == "copy" and not m.unchanged and shape[-2:] in caches for m in self.in_loops for shape in m.shapes
        )

    @property
    def sent(self) -> dict[str, tuple[int, int]]:
        """Collectives in loops: (how many, bytes at a turn of each of their loops), by operation."""
        found: dict[str, tuple[int, int]] = {}
        for m in self.in_loops:
            if m.op in hlo.COLLECTIVES:
                count, size = found.get(m.op, (0, 0))
                found[m.op] = (count + 1, size + m.bytes)
        return found


class Planned(Programs):
    """Programs of which only those of some names are compiled, with their costs by name, for a device of `memory`
    bytes. What is not compiled, or does not fit, has its result's shapes all the same."""

    def __init__(self, layout: Layout, memory: int, names: tuple[str, ...]) -> None:
        super().__init__(layout, memory)
        self.names = names
        self.costs: dict[str, Cost] = {}
        self.remat = ""  # of the update

    def add(
        self,
        name: str,
        function: Any,
        *arguments: Any,
        label: str = "",
        donate: tuple[int, ...] = (),
        out: Any = None,
        layout: Layout | None = None,
    ) -> Program:
        if name not in self.names:
            return _planned(name, function, arguments, out)
        begun = time.monotonic()
        try:
            made = super().add(name, function, *arguments, label=label, donate=donate, out=out, layout=layout)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            self.costs[name] = Cost(
                0,
                0,
                0,
                _asked(str(error)) or self.memory + 1,
                time.monotonic() - begun,
                failure=str(error).split("\n")[0],
            )
            return _planned(name, function, arguments, out)
        sizes = made.compiled.memory_analysis()
        moved = tuple(hlo.moved_in_loops(hlo.parse(made.compiled.as_text()))) if name == "sample" else ()
        self.costs[name] = Cost(
            sizes.argument_size_in_bytes,
            sizes.output_size_in_bytes,
            sizes.alias_size_in_bytes,
            sizes.temp_size_in_bytes,
            made.seconds,
            moved,
        )
        return made

    def add_fitting(self, name: str, choices: dict[str, Any], *arguments: Any, **options: Any) -> tuple[Program, str]:
        """Adds the first form that fits, as a run does; else the last."""
        for self.remat, function in choices.items():
            program = self.add(name, function, *arguments, **options)
            cost = self.costs.get(name)
            if cost is None or not cost.failure and cost.arguments + cost.added <= MEMORY_LIMIT * self.memory:
                break
        return program, self.remat


def _planned(name: str, function: Any, arguments: Any, out: Any) -> Program:
    """A program that is not compiled. out: shardings of its result, a prefix of its tree."""

    def laid(sharding, part):
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), part)

    return Program(name=name, label=name, out=jax.tree.map(laid, out, jax.eval_shape(function, *arguments)))


def _asked(message: str) -> int:
    """Bytes that the compiler says it would have needed, 0 where it does not."""
    found = re.search(r"\(([\d.]+)([KMGT])\) exceeds", message)
    return int(float(found.group(1)) * 2 ** (10 * (1 + "KMGT".index(found.group(2))))) if found else 0
