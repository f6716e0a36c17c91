"""From logical axes, which arrays are described with, to axes of the mesh."""

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
    """Logical axis -> mesh axes that cut it, () for none. A dimension that they do not divide stays whole."""

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
        """How an array is cut.

        Args:
          axes: the logical axis of each dimension, None for one that is never cut.
          units: logical axis -> number of units in it that must stay whole, such as heads.

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
        """`spec` on a mesh."""
        return NamedSharding(mesh, self.spec(axes, shape, mesh, units))

    def check(self, arrays: Mapping[str, Sequence[str | None]]) -> None:
        """Raises InputError naming the first array (name -> logical axes) that two rules would cut by one mesh axis."""
        for name, axes in arrays.items():
            used = [mesh_axis for axis in axes if axis is not None for mesh_axis in self._of(axis)]
            twice = next((mesh_axis for mesh_axis in used if used.count(mesh_axis) > 1), None)
            if twice:
                raise InputError(
                    f"sharding rules: {name} with axes {tuple(axes)} would be cut twice by mesh axis {twice!r}"
                )

    def _of(self, axis: str) -> Axes:
        if axis not in self.__dataclass_fields__:
            raise InputError(f"sharding rules: there is no logical axis {axis!r}")
        return getattr(self, axis)


UPDATE = Rules()
# weights are read at every token: nothing of them may be gathered there, so fsdp cuts the batch alone
DECODE = dataclasses.replace(UPDATE, embed=(), audio_embed=(), vision_embed=(), vision_merged=())


_ACTIVE: ContextVar[tuple[Mesh, Rules] | None] = ContextVar("mesh and rules of the program being traced", default=None)


@contextlib.contextmanager
def using(mesh: Mesh, rules: Rules) -> Iterator[None]:
    """Where a program is traced for a mesh: `constrain` follows these rules inside."""
    token = _ACTIVE.set((mesh, rules))
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def platform() -> str:
    """Which of "cpu", "gpu" and "tpu": of the mesh that a program is traced for, which need not be here; else of this
    process."""
    active = _ACTIVE.get()
    return jax.default_backend() if active is None else active[0].devices.flat[0].platform


def on_each(
    function: Callable[..., jax.Array],
    *axes: Sequence[str | None],
    out: Sequence[str | None],
    units: Mapping[str, int] | None = None,
) -> Callable[..., jax.Array]:
    """`function`, on a mesh of several devices run by each on its own part: for kernels that XLA cannot cut by itself.

    Args:
      axes: the logical axes of each argument; out: those of the result, whose shape is the first argument's.
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
    """x, laid out by the logical axes of its dimensions while a program is traced for a mesh of several devices."""
    active = _ACTIVE.get()
    if active is None or active[0].size == 1:
        return x
    mesh, rules = active
    return jax.lax.with_sharding_constraint(x, rules.sharding(axes, x.shape, mesh))


def matching(tree: Any, params: Any, shardings: Any, default: NamedSharding) -> Any:
    """Shardings for a tree that holds copies of `params` in it, such as an optimizer's state: a leaf whose path ends
    with a parameter's and has its shape gets its sharding, any other leaf `default`."""
    known = [
        (jax.tree_util.keystr(path), leaf.shape, sharding)
        for (path, leaf), sharding in zip(
            jax.tree_util.tree_flatten_with_path(params)[0], jax.tree.leaves(shardings), strict=True
        )
    ]

    def of(path, leaf):
        name = jax.tree_util.keystr(path)
        return next((sharding for end, shape, sharding in known if name.endswith(end) and leaf.shape == shape), default)

    return jax.tree_util.tree_map_with_path(of, tree)
