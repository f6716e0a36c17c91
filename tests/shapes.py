"""Shapes in annotations, `Float[Array, "n p d"]`, are checked when functions of the package are called in tests.

The package names them for readers alone: it imports jaxtyping only where types are checked, so that a run neither needs
it nor spends time on it. Here every function of a module that does is wrapped as soon as the module is loaded, before
others can import from it. NumPy's arrays count as arrays, as JAX takes them for such.
"""

import importlib.abc
import importlib.machinery
import inspect
import sys
from pathlib import Path
from types import ModuleType

import beartype
import jax
import jaxtyping
import numpy as np

NAMED = "from jaxtyping import"
NAMES = {name: getattr(jaxtyping, name) for name in ("Bool", "Float", "Int", "Key", "Shaped")}
NAMES["Array"] = jax.Array | np.ndarray


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module, and wraps its functions."""

    def exec_module(self, module: ModuleType) -> None:
        vars(module).update(NAMES)
        super().exec_module(module)
        for name, function in list(vars(module).items()):
            if inspect.isfunction(function) and function.__module__ == module.__name__ and _names_shapes(function):
                setattr(module, name, jaxtyping.jaxtyped(function, typechecker=beartype.beartype))


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules below a directory that name shapes."""

    def __init__(self, root: Path) -> None:
        self.modules = {
            ".".join(path.relative_to(root.parent).with_suffix("").parts)
            for path in root.rglob("*.py")
            if NAMED in path.read_text()
        }

    def find_spec(self, name, path, target=None):
        """The spec of a module that names shapes, None of others."""
        if name not in self.modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        spec.loader = _Loader(name, spec.origin)
        return spec


def _names_shapes(function) -> bool:
    return any(f"{kind}[" in str(said) for said in function.__annotations__.values() for kind in NAMES)


def check(root: Path) -> None:
    """Checks the package at `root` from now on; none of its modules may be loaded yet."""
    sys.meta_path.insert(0, Finder(root))
