"""Reads the text of a compiled program: what its loops send, and what they compute again from values that never change.

A token loop should read every weight where it lies. What an instruction inside a loop computes only from values that
the loop does not change is the same at every turn. If it is an all-gather, a weight is sent over the links for every
token; if it is a copy, a weight is written to memory for every token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "reduce-scatter", "collective-permute", "collective-broadcast")
_BYTES = (  # of an element, by dtype
    {"s4": 0.5, "u4": 0.5, "pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2}
    | {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
)
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](\{[^{}]*\})?")
_FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "iota", "while", "after-all", "partition-id")


@dataclass(frozen=True)
class Instruction:
    """One line of a computation.

    Attributes:
      arrays: (dtype, shape, layout) of each array of its result.
      operands: names of the instructions whose results it reads.
      attributes: the text after its operands; for a parameter "number=N".
      is_root: whether its result is the result of the computation.
    """

    name: str
    op: str
    arrays: tuple[tuple[str, tuple[int, ...], str], ...]
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """Bytes of all arrays of its result."""
        return int(sum(_BYTES.get(dtype, 0) * math.prod(shape) for dtype, shape, _ in self.arrays))

    @property
    def kind(self) -> str:
        """The operation, without the suffix of one that is begun and waited for in two instructions."""
        return self.op.removesuffix("-start").removesuffix("-done")

    def called(self, attribute: str) -> str | None:
        """The value of an attribute such as `body` or `index`, None without it."""
        found = re.search(rf"\b{attribute}=%?([\w.-]+)", self.attributes)
        return found and found.group(1)


@dataclass(frozen=True)
class Moved:
    """What a loop sends or writes at every turn.

    Attributes:
      op: the operation. shapes: of the arrays of its result. bytes: of all of them.
      unchanged: whether it is computed from nothing that the outermost loop changes.
      loop: the name of the outermost loop that it is in.
      depth: how many loops it is in.
    """

    op: str
    shapes: tuple[tuple[int, ...], ...]
    bytes: int
    unchanged: bool
    loop: str
    depth: int


Module = dict[str, dict[str, Instruction]]


def parse(text: str) -> Module:
    """The computations of an HLO module, each {name: instruction}; the entry is named "ENTRY".

    Args:
      text: of the module, as `compiled.as_text()` gives it.
    """
    module: Module = {}
    current: dict[str, Instruction] = {}
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")) and line.rstrip().endswith("{"):
            name = "ENTRY" if line.startswith("ENTRY") else line[1:].split(" ", 1)[0]
            current = module.setdefault(name, {})
        elif line.startswith("  ") and " = " in line:
            instruction = _instruction(line.strip())
            current[instruction.name] = instruction
    return module


def moved_in_loops(module: Module, least: int = 1 << 20) -> list[Moved]:
    """What the loops of a module send or write at every turn.

    These are all collectives; and, of at least `least` bytes, copies and whatever is computed from values that the
    loop does not change. On TPUs, what goes to the memory of the chip itself (S(1)) is not counted: it is a weight on
    its way into a product.
    """
    return list(_walk(module, "ENTRY", _Scope(), least))


def _instruction(line: str) -> Instruction:
    is_root = line.startswith("ROOT ")
    name, rest = line.removeprefix("ROOT ").split(" = ", 1)
    end = _closing(rest) + 1 if rest.startswith("(") else rest.index(" ")
    shape, rest = rest[:end], rest[end:].lstrip()
    op = rest[: rest.index("(")]
    rest = rest[len(op) :]
    end = _closing(rest)
    arrays = tuple(
        (dtype, tuple(map(int, filter(None, dims.split(",")))), layout) for dtype, dims, layout in _ARRAY.findall(shape)
    )
    operands = tuple(re.findall(r"%([\w.-]+)", rest[:end]))
    attributes = f"number={rest[1:end]}" if op == "parameter" else rest[end + 1 :]
    return Instruction(name.lstrip("%"), op, arrays, operands, attributes, is_root)


def _closing(text: str) -> int:
    """The index at which the parenthesis that opens `text` is closed."""
    depth = 0
    for index, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if not depth:
            return index
    raise ValueError(f"unbalanced: {text[:80]}")


@dataclass(frozen=True)
class _Scope:
    """Where a computation is run from, and what does not change as long as the outermost loop runs.

    fixed: elements of the computation's tuple parameter that do not change. given: parameters that do not change.
    """

    fixed: frozenset[int] = frozenset()
    given: frozenset[int] = frozenset()
    loop: str = ""
    depth: int = 0


def _walk(module: Module, name: str, scope: _Scope, least: int) -> Iterator[Moved]:
    """What a computation, and those that it calls, send or write at every turn of a loop."""
    computation, unchanged = module[name], set()
    for i in computation.values():
        if _is_unchanged(computation, i, unchanged, scope):
            unchanged.add(i.name)
        if i.op == "while":
            fixed = _fixed_inside(module, computation, i, unchanged, scope.depth)
            inside = _Scope(fixed=fixed, loop=scope.loop or i.name, depth=scope.depth + 1)
            yield from _walk(module, i.called("body"), inside, least)
        elif i.op in ("call", "async-start"):  # GPUs: kernels that are launched together
            given = (n for n, operand in enumerate(i.operands) if _is_fixed(computation, operand, unchanged))
            inside = _Scope(given=frozenset(given), loop=scope.loop, depth=scope.depth)
            yield from _walk(module, i.called("to_apply") or i.called("calls"), inside, least)
        elif scope.depth and not i.op.endswith("-done"):
            again = i.kind == "copy" or (i.name in unchanged and i.op not in _FREE)
            if i.kind in COLLECTIVES or (again and i.bytes >= least and not _is_on_chip(i)):
                shapes = tuple(shape for _, shape, _ in i.arrays)
                yield Moved(i.kind, shapes, i.bytes, i.name in unchanged, scope.loop, scope.depth)


def _is_unchanged(computation: dict[str, Instruction], i: Instruction, unchanged: set[str], scope: _Scope) -> bool:
    """Whether an instruction has the same result at every turn of the outermost loop."""
    if i.op == "get-tuple-element":
        source = computation[i.operands[0]]
        is_element = source.op == "parameter" and int(i.called("index")) in scope.fixed
        return is_element or i.operands[0] in unchanged
    if i.op == "parameter":
        return int(i.called("number")) in scope.given
    if i.op == "while" or not i.operands or not scope.depth:
        return False
    return all(_is_fixed(computation, operand, unchanged) for operand in i.operands)


def _is_fixed(computation: dict[str, Instruction], operand: str, unchanged: set[str]) -> bool:
    """Whether an operand is unchanged, a constant, or made of numbers alone, such as the counter of the loop."""
    source = computation[operand]
    return operand in unchanged or source.op == "constant" or all(not shape for _, shape, _ in source.arrays)


def _is_on_chip(i: Instruction) -> bool:
    """Whether the result lies in the memory of the chip itself. The result of one that is only begun names the source
    too."""
    on_chip = ["S(1)" in layout for _, shape, layout in i.arrays if shape]
    return any(on_chip) if i.op.endswith("-start") else all(on_chip)


def _fixed_inside(
    module: Module, outside: dict[str, Instruction], loop: Instruction, unchanged: set[str], depth: int
) -> frozenset[int]:
    """Elements of a loop's tuple that the loop passes on as they are. For a loop inside another one, only those that
    the outer loop does not change either."""
    body = module[loop.called("body")]
    root = next(i for i in body.values() if i.is_root)
    passed = frozenset(n for n, operand in enumerate(root.operands) if _element(body, operand) == n)
    if not depth:
        return passed
    given = outside[loop.operands[0]].operands
    return frozenset(n for n in passed if n < len(given) and given[n] in unchanged)


def _element(body: dict[str, Instruction], name: str) -> int | None:
    """Which element of the parameter an instruction passes on as it is, None if it does something else."""
    i = body[name]
    if i.op == "get-tuple-element" and body[i.operands[0]].op == "parameter":
        return int(i.called("index"))
    return None
