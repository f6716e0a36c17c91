"""Measures how the package is built: sizes of files and functions, options, wide calls, and who imports whom.

    python benchmarks/house.py                         # this checkout
    python benchmarks/house.py --root OLD --root NEW   # one column for each checkout

Prints a Markdown table. Everything but the number of options is read from the source, without importing it; the
options are counted by a Python process in that checkout. tests/test_house.py holds the same figures to their limits.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "emsa_jax"
# each room imports only from rooms before it; the modules of FREE stand beside them, and every room may use them
FREE = ("errors", "disk", "json_file", "manifest", "append_log", "shipped", "config")
ROOMS = (
    *("data", "answers", "parallel", "policy", "rollout", "rewards", "learning", "runtime", "planning", "training"),
    *("distill", "cues", "evaluation", "features", "experiments", "serving", "report", "settings", "jobs", "main"),
    "command_line",
)
WIDE = 8  # positional arguments: a call with so many is hard to read
CONFIGS = ("settings/config.py", "jobs/options.py")  # where a run's Config is, in this tree and in an older one
COUNT_OPTIONS = """
import dataclasses, importlib, sys, typing

def leaves(kind):
    hints = typing.get_type_hints(kind)
    kinds = [hints[field.name] for field in dataclasses.fields(kind)]
    return sum(leaves(kind) if dataclasses.is_dataclass(kind) else 1 for kind in kinds)

print(leaves(importlib.import_module(sys.argv[1]).Config))
"""


@dataclass(frozen=True, order=True)
class Import:
    """`importer` (a module's name) imports `imported` at a line of its file, wherever in the file that is."""

    importer: str
    imported: str
    line: int

    @property
    def rooms(self) -> tuple[str, str]:
        return _room(self.importer), _room(self.imported)


@dataclass(frozen=True)
class House:
    """The package of a checkout. Nothing of it is imported, except by `leaf_options`."""

    root: Path

    @cached_property
    def files(self) -> dict[str, Path]:
        """Module name -> file, in the order of the names."""
        paths = sorted((self.root / PACKAGE).rglob("*.py"))
        return {module_name(path.relative_to(self.root)): path for path in paths}

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Module name -> syntax tree."""
        return {module: ast.parse(path.read_text(), str(path)) for module, path in self.files.items()}

    @cached_property
    def imports(self) -> list[Import]:
        """Every import of a module of the package, those inside functions and under TYPE_CHECKING included."""
        return sorted({found for module, tree in self.trees.items() for found in self._imports(module, tree)})

    def _imports(self, module: str, tree: ast.Module) -> Iterator[Import]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = _absolute(node, module, self.files[module].name == "__init__.py")
                names = [f"{base}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                if name.partition(".")[0] == PACKAGE:
                    yield Import(module, self._module_of(name), node.lineno)

    def _module_of(self, name: str) -> str:
        """The module that a dotted name lies in: emsa_jax.errors for emsa_jax.errors.InputError."""
        while name not in self.files and "." in name:
            name = name.rpartition(".")[0]
        return name

    def lines(self, room: str = "") -> dict[str, int]:
        """Module name -> lines of its file, for one room or for the whole package."""
        inside = {module: path for module, path in self.files.items() if not room or _room(module) == room}
        return {module: len(path.read_text().splitlines()) for module, path in inside.items()}

    def functions(self) -> dict[str, int]:
        """ "module:line function" -> its lines, from `def` to its last."""
        return {
            f"{module}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
            for module, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }

    def wide_calls(self) -> dict[str, int]:
        """ "module:line called" -> positional arguments, of calls that have at least WIDE. One with a star counts as
        one argument."""
        return {
            f"{module}:{node.lineno} {ast.unparse(node.func)}": len(node.args)
            for module, tree in self.trees.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and len(node.args) >= WIDE
        }

    def unknown_rooms(self) -> set[str]:
        """Files and directories of the package that stand neither in ROOMS nor in FREE."""
        return {_room(module) for module in self.files} - {"", *ROOMS, *FREE}

    def upward_imports(self) -> list[Import]:
        """Imports from a room that stands after the importer's; the modules of FREE import only each other."""
        place = {room: 1 + i for i, room in enumerate(ROOMS)} | dict.fromkeys(FREE, 0)
        known = [found for found in self.imports if all(room in place for room in found.rooms)]
        return [found for found in known if place[found.rooms[1]] > place[found.rooms[0]]]

    def circles(self) -> list[list[str]]:
        """Sets of modules that import each other in a circle, each sorted; a module that imports itself is one too."""
        edges: dict[str, set[str]] = {module: set() for module in self.files}
        for found in self.imports:
            edges[found.importer].add(found.imported)
        return [
            sorted(group) for group in strong_components(edges) if len(group) > 1 or group[0] in edges.get(group[0], ())
        ]

    def edges_between(self, importer: str, imported: Iterable[str]) -> set[tuple[str, str]]:
        """Pairs of modules, the first in room `importer`, the second in one of the rooms `imported`."""
        rooms = set(imported)
        return {(i.importer, i.imported) for i in self.imports if i.rooms[0] == importer and i.rooms[1] in rooms}

    def leaf_options(self) -> int:
        """Fields of a run's config that are no group of fields: what a user can set. Imports that checkout's Config."""
        file = next(file for file in CONFIGS if (self.root / PACKAGE / file).exists())
        module = module_name(Path(PACKAGE) / file)
        environment = os.environ | {"PYTHONPATH": str(self.root), "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", COUNT_OPTIONS, module]
        return int(subprocess.run(command, cwd=self.root, env=environment, check=True, stdout=subprocess.PIPE).stdout)

    def figures(self) -> dict[str, str]:
        """What the table shows: name -> figure."""
        jobs = {module: lines for module, lines in self.lines("jobs").items() if not module.endswith(".jobs")}
        longest, wide = _largest(self.functions()), self.wide_calls()
        others = {_room(module) for module in self.files} - {"", "jobs"}
        return {
            "files in the package": f"{len(self.files)}",
            "lines in the package": f"{sum(self.lines().values()):,}",
            "modules in jobs/": f"{len(jobs)}",
            "longest file in jobs/, lines": _largest(jobs),
            "options of a run": f"{self.leaf_options()}",
            "longest function, lines": longest,
            f"calls with {WIDE} or more positional arguments": f"{len(wide)}",
            "imports from jobs/ into other rooms": f"{len(self.edges_between('jobs', others))}",
            "imports among the modules of jobs/": f"{len(self.edges_between('jobs', ['jobs']))}",
            "files that import in a circle": f"{sum(map(len, self.circles()))}",
        }


def module_name(path: Path) -> str:
    """emsa_jax.policy.lora for emsa_jax/policy/lora.py, emsa_jax.data for emsa_jax/data/__init__.py."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def strong_components(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Tarjan's algorithm: the nodes in groups that are as large as possible and in which each node leads to each other
    one. https://doi.org/10.1137/0201010"""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for following in edges.get(node, ()):
            if following not in index:
                visit(following)
                low[node] = min(low[node], low[following])
            elif following in stack:
                low[node] = min(low[node], index[following])
        if low[node] == index[node]:
            at = stack.index(node)
            groups.append(stack[at:])
            del stack[at:]

    for node in edges:
        if node not in index:
            visit(node)
    return groups


def _room(module: str) -> str:
    """The room of a module: "data" for emsa_jax.data.records, "" for the package itself."""
    return (module.split(".") + [""])[1]


def _absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The module that `from ... import` names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    kept = parts[: len(parts) - node.level + is_package]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _largest(sizes: Mapping[str, int]) -> str:
    name = max(sizes, key=sizes.get)
    return f"{sizes[name]} ({name.split(' ')[-1].removeprefix(PACKAGE + '.')})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, action="append", help="a checkout; give it again for another column")
    roots = parser.parse_args().root or [Path(__file__).parents[1]]
    columns = [House(root.absolute()).figures() for root in roots]
    rows = [["", *(root.absolute().name for root in roots)], ["---"] * (1 + len(roots))]
    rows += [[name, *(column[name] for column in columns)] for name in columns[0]]
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    main()
