"""Reads a compiled program's text: what its loops send, and what they make again of things that never change.

A token loop should read every weight where it lies. What an instruction inside a loop computes only from values that
the loop does not change is the same at every turn: as an all-gather it is a weight sent over the wires for every
token, as a copy it is a weight written to memory for every token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

COLLECTIVES = ("all-gather", "all-reduce", "all-to-all", "reduce-scatter", "collective-permute", "collective-broadcast")
_BYTES = {
    "pred": 1,
    "s4": 0.5,
    "u4": 0.5,
    "s8": 1,
    "u8": 1,
    "s16": 2,
    "u16": 2,
    "bf16": 2,
    "f16": 2,
    "s32": 4,
    "u32": 4,
    "f32": 4,
    "s64": 8,
    "u64": 8,
    "f64": 8,
}
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](\{[^{}]*\})?")
_FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "iota", "while", "after-all", "partition-id")


@dataclass(frozen=True)
class Instruction:
    """One line of a computation. arrays: (dtype, shape, layout) of each array that it gives."""

    name: str
    op: str
    arrays: tuple[tuple[str, tuple[int, ...], str], ...]
    operands: tuple[str, ...]
    attributes: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """Of all arrays that it gives."""
        return int(sum(_BYTES.get(dtype, 0) * math.prod(shape) for dtype, shape, _ in self.arrays))

    @property
    def kind(self) -> str:
        """The operation, whether it waits for its end or not."""
        return self.op.removesuffix("-start").removesuffix("-done")

    def called(self, attribute: str) -> str | None:
        """What an attribute such as `body` or `index` names."""
        found = re.search(rf"\b{attribute}=%?([\w.-]+)", self.attributes)
        return found and found.group(1)


@dataclass(frozen=True)
class Moved:
    """What a loop sends or writes again and again: the operation, shapes of its arrays, bytes at a turn of its loop.

    unchanged: made of nothing that the loop changes. loop: the outermost one that it is in; depth: 1 if just in that.
    """

    op: str
    shapes: tuple[tuple[int, ...], ...]
    bytes: int
    unchanged: bool
    loop: str
    depth: int


Module = dict[str, dict[str, Instruction]]


def parse(text: str) -> Module:
    """Computations of an HLO module's text (`compiled.as_text()`), each {name: instruction}; the entry is "ENTRY"."""
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
    """Collectives in loops; and, of at least `least` bytes, copies, and whatever loops make of what they do not change.

    On TPUs, what goes to the chip's own memory (S(1)) is a weight on its way into a product: not counted.
    """
    return list(_walk(module, "ENTRY", frozenset(), frozenset(), "", 0, least))


def aliased_parameters(text: str) -> frozenset[int]:
    """Parameters of the entry whose memory a result takes over (donation that the compiler could use)."""
    start = text.find("input_output_alias={")
    if start < 0:
        return frozenset()
    line = text[start : text.index("\n", start)].split("entry_computation_layout", 1)[0]
    return frozenset(int(number) for number in re.findall(r"\((\d+), \{[\d, ]*\}", line))


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
    """Where the parenthesis that opens `text` is closed."""
    depth = 0
    for place, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if not depth:
            return place
    raise ValueError(f"unbalanced: {text[:80]}")


def _walk(
    module: Module, name: str, fixed: frozenset[int], given: frozenset[int], loop: str, depth: int, least: int
) -> Iterator[Moved]:
    """What does not change as long as the outermost loop runs: elements `fixed` of the computation's tuple parameter,
    and its parameters `given`."""
    computation, unchanged = module[name], set()

    def is_fixed(operand: str) -> bool:
        of = computation[operand]
        return operand in unchanged or of.op == "constant" or all(not shape for _, shape, _ in of.arrays)

    for i in computation.values():
        if i.op == "get-tuple-element":
            source = computation[i.operands[0]]
            is_element = source.op == "parameter" and int(i.called("index")) in fixed
            if is_element or i.operands[0] in unchanged:
                unchanged.add(i.name)
        elif i.op == "parameter" and int(i.called("number")) in given:
            unchanged.add(i.name)
        elif i.op not in ("parameter", "while") and i.operands and all(map(is_fixed, i.operands)) and depth:
            unchanged.add(i.name)
        if i.op == "while":
            fixed_inside = _fixed_inside(module, computation, i, unchanged, depth)
            yield from _walk(module, i.called("body"), fixed_inside, frozenset(), loop or i.name, depth + 1, least)
            continue
        if i.op in ("call", "async-start"):  # GPUs: kernels that are launched together
            arguments = frozenset(n for n, operand in enumerate(i.operands) if is_fixed(operand))
            inner = i.called("to_apply") or i.called("calls")
            yield from _walk(module, inner, frozenset(), arguments, loop, depth, least)
            continue
        if not depth or i.op.endswith("-done"):
            continue
        near = [("S(1)" in layout) for _, shape, layout in i.arrays if shape]
        on_chip = any(near) if i.op.endswith("-start") else all(near)  # which also gives where it comes from
        again = i.kind == "copy" or (i.name in unchanged and i.op not in _FREE)
        if i.kind in COLLECTIVES or (again and i.bytes >= least and not on_chip):
            yield Moved(i.kind, tuple(shape for _, shape, _ in i.arrays), i.bytes, i.name in unchanged, loop, depth)


def _fixed_inside(
    module: Module, outside: dict[str, Instruction], loop: Instruction, unchanged: set[str], depth: int
) -> frozenset[int]:
    """Elements that a loop hands on as they are; where it is in a loop itself, those that this one does not change."""
    body = module[loop.called("body")]
    root = next(i for i in body.values() if i.is_root)
    passed = frozenset(n for n, operand in enumerate(root.operands) if _element(body, operand) == n)
    if not depth:
        return passed
    given = outside[loop.operands[0]].operands
    return frozenset(n for n in passed if n < len(given) and given[n] in unchanged)


def _element(body: dict[str, Instruction], name: str) -> int | None:
    """Which element of the parameter an instruction hands on as it is."""
    i = body[name]
    if i.op == "get-tuple-element" and body[i.operands[0]].op == "parameter":
        return int(i.called("index"))
    return None
