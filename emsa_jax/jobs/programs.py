"""Programs compiled before the first step: a run that has begun never waits for the compiler again."""
from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.jobs.console import say
from emsa_jax.jobs.hardware import device_bytes


def keep_compiled(directory: Path) -> None:
    """Keeps compiled programs on disk, so that a run that goes on, or a later stage, does not compile them again."""
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")  # else the directory's path is in every key
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
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
    """[steps] float32: schedule(0), schedule(1) ... in one program, so that to log one compiles nothing."""
    return np.asarray(jax.jit(lambda step: jnp.broadcast_to(schedule(step), step.shape))(jnp.arange(steps)))

_SHARE = 0.8  # of a device's memory that one program may take; caches and the next batch are there too


class Programs:
    """Compiled programs by name; calling one with other shapes is an error, never a silent compilation.

    Equal programs are compiled once in a process, whoever adds them: several runs in one process share theirs."""

    _known: dict[bytes, Callable] = {}  # by the hash of the program's text

    def __init__(self) -> None:
        self._compiled: dict[str, Callable] = {}
        self.seconds: dict[str, float] = {}

    def add(self, name: str, function: Callable, *arguments: Any, donate: tuple[int, ...] = ()) -> Any:
        """Compiles `function` for arguments (arrays or ShapeDtypeStructs) and returns its abstract result."""
        begun = time.monotonic()
        abstract = jax.tree.map(_abstract, arguments)
        lowered = jax.jit(function, donate_argnums=donate).lower(*abstract)
        # arguments of the same shapes may differ in what is static in them
        said = f"{jax.tree.structure(abstract)} {jax.tree.structure(lowered.out_info)} {donate} {lowered.as_text()}"
        key = hashlib.sha256(said.encode()).digest()
        if key not in self._known:
            self._known[key] = lowered.compile()
        self._compiled[name] = self._known[key]
        self.seconds[name] = time.monotonic() - begun
        return jax.tree.map(_abstract, lowered.out_info)

    def add_fitting(self, name: str, choices: dict[str, Callable], *arguments: Any,
                    donate: tuple[int, ...] = ()) -> str:
        """Adds the first of several forms of a function that fits the device's memory, else the last; returns which.

        Form k is asked only if no form before it fits: by what its compilation says it will use, or by its failure.
        """
        *others, last = choices
        for choice in others:
            try:
                self.add(name, choices[choice], *arguments, donate=donate)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                continue
            if used_bytes(self._compiled[name]) <= _SHARE * device_bytes():
                return choice
        self.add(name, choices[last], *arguments, donate=donate)
        return last

    def __getitem__(self, name: str) -> Callable:
        compiled = self._compiled[name]
        return lambda *arguments: compiled(*_sent(arguments))

    def report(self) -> None:
        """Lists what was compiled and how long it took."""
        listed = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
        say(f"compiled {len(self.seconds)} programs: {listed}")


def used_bytes(compiled: Any) -> int:
    """What a compiled program needs at once: arguments, results that are not written over them, all between."""
    sizes = compiled.memory_analysis()
    return (sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
            + sizes.temp_size_in_bytes)


def _sent(arguments: Any) -> Any:
    """The arguments with host arrays on the device: told to go there, as `jax.transfer_guard` wants it."""
    return jax.tree.map(lambda leaf: jax.device_put(leaf) if isinstance(leaf, np.ndarray | np.generic) else leaf,
                        arguments)


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
