"""Sharding rules: from the logical axes that describe an array to the axes of the mesh that cut it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from emsa_jax.errors import InputError

Axes = tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """Logical axis -> the mesh axes that cut it, () for none. A dimension whose size they do not divide stays whole."""

    batch: Axes = ("data", "fsdp")
    layers: Axes = ()
    vocab: Axes = ("tensor",)
    embed: Axes = ("fsdp",)
    heads: Axes = ("tensor",)
    kv_heads: Axes = ("tensor",)
    mlp: Axes = ("tensor",)
    audio_embed: Axes = ("fsdp",)
    audio_in: Axes = ()
    audio_heads: Axes = ("tensor",)
    audio_mlp: Axes = ("tensor",)
    vision_embed: Axes = ("fsdp",)
    vision_heads: Axes = ("tensor",)
    vision_mlp: Axes = ("tensor",)
    vision_merged: Axes = ("fsdp",)
    rank: Axes = ()
    norm: Axes = ()
    kernel: Axes = ()
    media: Axes = ()

    def spec(
        self, axes: Sequence[str | None], shape: Sequence[int], mesh: Mesh, units: Mapping[str, int] | None = None
    ) -> PartitionSpec:
        """How an array is cut over a mesh.

        Args:
          axes: the logical axis of each dimension, None for one that is never cut.
          shape: of the array.
          units: logical axis -> how many units it consists of, such as heads; no unit is cut.

        Raises:
          InputError: an unknown logical axis; two dimensions of the array cut by the same mesh axis.
        """
        parts, taken = [], {}
        for axis, size in zip(axes, shape, strict=True):
            names = () if axis is None else self._of(axis)
            for name in names:
                if name in taken:
                    raise InputError(
                        f"sharding rules: axes {taken[name]!r} and {axis!r} of one array are both cut by "
                        f"mesh axis {name!r}"
                    )
                taken[name] = axis
            names = tuple(name for name in names if mesh.shape[name] > 1)
            cut = math.prod(mesh.shape[name] for name in names)
            whole = size % cut or (units or {}).get(axis, size) % cut
            parts.append(None if whole or not names else names[0] if len(names) == 1 else names)
        return PartitionSpec(*parts)

    def sharding(
        self, axes: Sequence[str | None], shape: Sequence[int], mesh: Mesh, units: Mapping[str, int] | None = None
    ) -> NamedSharding:
        """The sharding of an array: `spec` with its mesh."""
        return NamedSharding(mesh, self.spec(axes, shape, mesh, units))

    def check(self, arrays: Mapping[str, Sequence[str | None]]) -> None:
        """Raises InputError naming the first array (name -> logical axes) that one mesh axis would cut twice."""
        for name, axes in arrays.items():
            used = [mesh_axis for axis in axes if axis is not None for mesh_axis in self._of(axis)]
            twice = next((mesh_axis for mesh_axis in used if used.count(mesh_axis) > 1), None)
            if twice:
                raise InputError(
                    f"sharding rules: {name} with axes {tuple(axes)} would be cut twice by mesh axis {twice!r}"
                )

    def _of(self, axis: str) -> Axes:
        """The mesh axes that cut a logical axis. Raises InputError for an unknown one."""
        if axis not in self.__dataclass_fields__:
            raise InputError(f"sharding rules: there is no logical axis {axis!r}")
        return getattr(self, axis)


UPDATE = Rules()
# Decoding reads the weights at every token, so they must not be gathered there: fsdp cuts the batch alone.
DECODE = dataclasses.replace(UPDATE, embed=(), audio_embed=(), vision_embed=(), vision_merged=())


_ACTIVE: ContextVar[tuple[Mesh, Rules] | None] = ContextVar("mesh and rules of the program being traced", default=None)


@contextlib.contextmanager
def using(mesh: Mesh, rules: Rules) -> Iterator[None]:
    """In the body, where a program is traced, `constrain`, `on_each` and `platform` follow the mesh and the rules."""
    token = _ACTIVE.set((mesh, rules))
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def platform() -> str:
    """ "cpu", "gpu" or "tpu": the platform of the mesh that a program is traced for, whose devices may be missing here;
    without such a mesh, the platform of this process."""
    active = _ACTIVE.get()
    return jax.default_backend() if active is None else active[0].devices.flat[0].platform


def on_each(
    function: Callable[..., jax.Array],
    *axes: Sequence[str | None],
    out: Sequence[str | None],
    units: Mapping[str, int] | None = None,
) -> Callable[..., jax.Array]:
    """`function`, which on a mesh of several devices each of them calls with its part of the arguments.

    It is for kernels that XLA cannot cut by itself.

    Args:
      axes: the logical axes of each argument.
      out: the logical axes of the result, which has the shape of the first argument.
      units: as for `Rules.spec`.
    """

    def call(*arrays: jax.Array) -> jax.Array:
        active = _ACTIVE.get()
        if active is None or active[0].size == 1:
            return function(*arrays)
        mesh, rules = active
        specs = tuple(rules.spec(a, x.shape, mesh, units) for a, x in zip(axes, arrays, strict=True))
        return jax.shard_map(
            function,
            mesh=mesh,
            in_specs=specs,
            check_vma=False,
            out_specs=rules.spec(out, arrays[0].shape, mesh, units),
        )(*arrays)

    return call


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """x, with the sharding of its logical axes where a program is traced for a mesh of several devices."""
    active = _ACTIVE.get()
    if active is None or active[0].size == 1:
        return x
    mesh, rules = active
    return jax.lax.with_sharding_constraint(x, rules.sharding(axes, x.shape, mesh))


def matching(tree: Any, params: Any, shardings: Any, default: NamedSharding) -> Any:
    """Shardings for a tree that contains trees like `params`, such as the state of an optimizer.

    A leaf gets the sharding of the parameter whose path its path ends with, if it has the same shape; any other leaf
    gets `default`.

    Args:
      params, shardings: the parameters, and their shardings as a tree of the same structure.
    """
    known = [
        (jax.tree_util.keystr(path), leaf.shape, sharding)
        for (path, leaf), sharding in zip(
            jax.tree_util.tree_flatten_with_path(params)[0], jax.tree.leaves(shardings), strict=True
        )
    ]

    def of(path: tuple, leaf: Any) -> Any:
        name = jax.tree_util.keystr(path)
        return next((sharding for end, shape, sharding in known if name.endswith(end) and leaf.shape == shape), default)

    return jax.tree_util.tree_map_with_path(of, tree)
