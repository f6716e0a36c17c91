"""Programs compiled before the first step: a run that has begun never waits for the compiler again."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.parallel.rules import using
from emsa_jax.policy.layout import Layout
from emsa_jax.runtime.console import say, told_if_long
from emsa_jax.runtime.hardware import device_bytes


def keep_compiled(directory: Path) -> None:
    """Keeps compiled programs on disk, so that a run that goes on, or a later stage, does not compile them again."""
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # else the directory's path is in every key
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")  # it is a cache
    for path in directory.glob("*-cache"):
        if _torn(path.read_bytes()):
            path.unlink()


def _torn(entry: bytes) -> bool:
    """Whether an entry was cut short by a kill, or damaged: JAX would complain of it at each start and not mend it."""
    try:
        return not entry or entry[:1] == b"x" and not zlib.decompress(entry)  # others are not zlib's
    except zlib.error:
        return True


def tabulate(schedule: Callable, steps: int) -> np.ndarray:
    """[steps] float32: schedule(0), schedule(1) ... all at once, so that to log one compiles nothing; and operation by
    operation and in whole thousands, so that another schedule doesn't either."""
    every = jnp.arange(-(-steps // 1000) * 1000)
    return np.asarray(jnp.broadcast_to(schedule(every), every.shape), np.float32)[:steps]


def remat_forms(asked: str, mesh: jax.sharding.Mesh) -> tuple[str, ...]:
    """The forms of an update on a mesh that are tried one after the other until one fits, of what an option `remat`
    asks for.

    CPUs wait for memory: to keep everything takes longer there than to compute again what is not a product."""
    if asked != "auto":
        return (asked,)
    return ("dots", "full") if mesh.devices.flat[0].platform == "cpu" else ("none", "dots", "full")


MEMORY_LIMIT = 0.8  # of a device's memory that one program may take; caches and the next batch need room too


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """A compiled program, to be called with arrays of the shapes that it was compiled for.

    Calling it with other shapes is an error, never a silent compilation. Host arrays are sent to their devices.

    name: what it does, as "sample". label: the name and sizes that tell it from others, for messages. out: its result
    as ShapeDtypeStructs. seconds: how long it took to compile. arguments: leaves of what it was compiled for.
    compiled: None if it was only planned; such a program cannot be called. bound: first arguments, given already.
    """

    name: str
    label: str
    out: Any
    seconds: float = 0.0
    arguments: Sequence[jax.ShapeDtypeStruct] = ()
    compiled: Callable | None = None
    bound: tuple = ()

    def __call__(self, *arguments: Any) -> Any:
        return self.compiled(*_sent((*self.bound, *arguments), self.arguments))

    def bind(self, *first: Any) -> Program:
        """The same program with its first arguments given."""
        return replace(self, bound=(*self.bound, *first))


class Programs:
    """Compiles a run's programs and lists them.

    Equal programs are compiled once in a process, whoever adds them: several runs in one process share theirs.

    layout: of arguments that do not say where they lie; None: on one device. memory: bytes of a device; 0: of the one
    that is here."""

    _known: dict[bytes, Callable] = {}  # by the hash of the program's text

    def __init__(self, layout: Layout | None = None, memory: int = 0) -> None:
        self.layout, self.memory = layout, memory
        self._added: dict[str, Program] = {}  # by label

    def add(
        self,
        name: str,
        function: Callable,
        *arguments: Any,
        label: str = "",
        donate: tuple[int, ...] = (),
        out: Any = None,
        layout: Layout | None = None,
    ) -> Program:
        """Compiles `function`.

        Args:
          arguments: arrays or ShapeDtypeStructs; those without a sharding are whole on every device.
          label: what it is called in messages (default: its name).
          donate: positions of arguments whose memory the result may take.
          out: shardings of the result, a prefix of its tree; None: as XLA likes it.
          layout: whose rules are followed inside (default: that of all programs).
        """
        begun = time.monotonic()
        layout = layout or self.layout
        abstract = jax.tree.map(functools.partial(_abstract, whole=layout and layout.whole), arguments)
        options = {"out_shardings": out} if layout else {}
        with using(layout.mesh, layout.rules) if layout else contextlib.nullcontext():
            lowered = jax.jit(function, donate_argnums=donate, **options).lower(*abstract)
        # what the text does not say: what is static in arguments, where they lie, and the shapes of unused ones
        said = (
            f"{jax.tree.structure(abstract)} {jax.tree.structure(lowered.out_info)} {donate} {lowered.as_text()} "
            f"{jax.tree.leaves(abstract)}"
        )
        key = hashlib.sha256(said.encode()).digest()
        if key not in self._known:
            with told_if_long(f"compiling {label or name} (the longest wait of a first start; the next one is short)"):
                self._known[key] = lowered.compile()
        compiled, made = self._known[key], jax.tree.map(_abstract, lowered.out_info)
        if layout:
            made = jax.tree.map(
                lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
                lowered.out_info,
                compiled.output_shardings,
            )
        program = Program(
            name=name,
            label=label or name,
            out=made,
            seconds=time.monotonic() - begun,
            arguments=jax.tree.leaves(abstract),
            compiled=compiled,
        )
        self._added[program.label] = program
        return program

    def add_fitting(
        self, name: str, choices: dict[str, Callable], *arguments: Any, **options: Any
    ) -> tuple[Program, str]:
        """Adds the first of several forms of a function that fits the device's memory, else the last; and says which.

        Form k is asked only if no form before it fits: by what its compilation says it will use, or by its failure.
        options: as `add` takes them.
        """
        *others, last = choices
        for choice in others:
            try:
                program = self.add(name, choices[choice], *arguments, **options)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                continue
            if used_bytes(program.compiled) <= MEMORY_LIMIT * (self.memory or device_bytes()):
                return program, choice
        return self.add(name, choices[last], *arguments, **options), last

    def report(self) -> None:
        """Lists what was compiled and how long it took."""
        listed = ", ".join(f"{label} {program.seconds:.1f} s" for label, program in self._added.items())
        say(f"compiled {len(self._added)} programs: {listed}")


def used_bytes(compiled: Any) -> int:
    """What a compiled program needs at once: arguments, results that are not written over them, all between."""
    sizes = compiled.memory_analysis()
    return (
        sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes + sizes.temp_size_in_bytes
    )


def _sent(arguments: Any, places: Sequence[jax.ShapeDtypeStruct]) -> Any:
    """The arguments with host arrays on the devices: told to go there, as `jax.transfer_guard` wants it. Of a batch,
    each process has its own rows."""
    leaves, structure = jax.tree.flatten(arguments)
    if len(leaves) != len(places):
        raise TypeError(f"{len(leaves)} arrays are given, but the program was compiled for {len(places)}")
    return jax.tree.unflatten(
        structure,
        [
            _send(leaf, place) if isinstance(leaf, np.ndarray | np.generic) else leaf
            for leaf, place in zip(leaves, places, strict=True)
        ],
    )


def _send(leaf: Any, place: jax.ShapeDtypeStruct) -> jax.Array:
    if place.sharding is None or place.sharding.is_fully_addressable:
        return jax.device_put(leaf, place.sharding)
    with jax.transfer_guard_host_to_device("allow"):  # JAX does not count this call as telling it
        return jax.make_array_from_process_local_data(place.sharding, np.asarray(leaf), place.shape)


def _abstract(leaf: Any, whole: jax.sharding.Sharding | None = None) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None)
    known = isinstance(sharding, jax.sharding.NamedSharding)
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding if known and whole else whole)
