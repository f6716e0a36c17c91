"""Programs of a run compiled from shapes alone, and what the compiler says of them."""

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


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one program costs a device.

    Attributes:
      arguments, results: bytes of what the program is given and of what it returns.
      aliased: bytes of the results that are written over arguments.
      temporaries: bytes of everything else that it keeps in memory while it runs.
      seconds: how long the compiler took.
      in_loops: what its loops send and copy.
      failure: the compiler's message, if the program does not fit the device.
    """

    arguments: int = 0
    results: int = 0
    aliased: int = 0
    temporaries: int = 0
    seconds: float = 0.0
    in_loops: tuple[hlo.Moved, ...] = ()
    failure: str = ""

    @property
    def added(self) -> int:
        """Bytes that the program needs beside its arguments."""
        return self.temporaries + self.results - self.aliased

    @property
    def gathered(self) -> int:
        """Bytes of weights, which its loops do not change, that a loop gathers again at every turn."""
        return _most_of_a_loop(m for m in self.in_loops if m.unchanged and m.op == "all-gather")

    @property
    def copied(self) -> int:
        """Bytes that a loop copies at every turn although it does not change them. Of a loop over layers inside it,
        one layer counts."""
        return _most_of_a_loop(m for m in self.in_loops if m.unchanged and m.op not in hlo.COLLECTIVES)

    def in_place(self, slots: int, head_dim: int) -> bool:
        """Whether no loop copies a cache that it writes to: [.., slots, head_dim] of at most so many answer slots."""
        caches = {(size, head_dim) for size in cache_sizes(slots)}
        return not any(
            m.op == "copy" and not m.unchanged and shape[-2:] in caches for m in self.in_loops for shape in m.shapes
        )

    @property
    def sent(self) -> dict[str, tuple[int, int]]:
        """Operation -> (how many such collectives are in loops, bytes that they send at one turn of each loop)."""
        found: dict[str, tuple[int, int]] = {}
        for m in self.in_loops:
            if m.op in hlo.COLLECTIVES:
                count, size = found.get(m.op, (0, 0))
                found[m.op] = (count + 1, size + m.bytes)
        return found


def _most_of_a_loop(found: Iterable[hlo.Moved]) -> int:
    """Bytes of the outermost loop that moves most."""
    sizes: dict[str, int] = {}
    for m in found:
        sizes[m.loop] = sizes.get(m.loop, 0) + m.bytes
    return max(sizes.values(), default=0)


class Planned(Programs):
    """Programs of which only those of some names are compiled; `costs` holds what each of them costs, by name.

    The others, and one that does not fit the device, can be passed on as programs of the right shapes, but not called.
    """

    def __init__(self, layout: Layout | None, memory: int, names: tuple[str, ...]) -> None:
        """layout: of arguments that do not say where they lie. memory: bytes of a device. names: what is compiled."""
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
        """See `Programs.add`."""
        if name not in self.names:
            return _planned(name, function, arguments, out)
        begun = time.monotonic()
        try:
            made = super().add(name, function, *arguments, label=label, donate=donate, out=out, layout=layout)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            self.costs[name] = Cost(
                temporaries=_needed_bytes(str(error)) or self.memory + 1,
                seconds=time.monotonic() - begun,
                failure=str(error).split("\n")[0],
            )
            return _planned(name, function, arguments, out)
        sizes = made.compiled.memory_analysis()
        moved = tuple(hlo.moved_in_loops(hlo.parse(made.compiled.as_text()))) if name == "sample" else ()
        self.costs[name] = Cost(
            arguments=sizes.argument_size_in_bytes,
            results=sizes.output_size_in_bytes,
            aliased=sizes.alias_size_in_bytes,
            temporaries=sizes.temp_size_in_bytes,
            seconds=made.seconds,
            in_loops=moved,
        )
        return made

    def add_fitting(self, name: str, choices: dict[str, Any], *arguments: Any, **options: Any) -> tuple[Program, str]:
        """See `Programs.add_fitting`; the last form may fail to fit too. `remat` holds the form that was chosen."""
        for self.remat, function in choices.items():
            program = self.add(name, function, *arguments, **options)
            cost = self.costs.get(name)
            if cost is None or not cost.failure and cost.arguments + cost.added <= MEMORY_LIMIT * self.memory:
                break
        return program, self.remat


def _planned(name: str, function: Any, arguments: Any, out: Any) -> Program:
    """A program that is not compiled. out: shardings of its result, a prefix of its tree."""

    def with_sharding(sharding: Any, part: Any) -> Any:
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), part)

    return Program(name=name, label=name, out=jax.tree.map(with_sharding, out, jax.eval_shape(function, *arguments)))


def _needed_bytes(message: str) -> int:
    """Bytes that the program would have needed by the compiler's message, 0 where it does not say."""
    found = re.search(r"\(([\d.]+)([KMGT])\) exceeds", message)
    return int(float(found.group(1)) * 2 ** (10 * (1 + "KMGT".index(found.group(2))))) if found else 0
