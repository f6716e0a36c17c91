"""Small host values that the processes of a run exchange outside of device programs.

They go through the key-value store of JAX's coordination service. In a run of one process every function here returns
at once. All processes must make the same exchanges in the same order. A process that fails says so, and the others stop
instead of waiting for it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from emsa_jax.errors import InputError
from emsa_jax.parallel import preemption
from emsa_jax.parallel.jax_internals import coordination

_PIECE = 2**20  # bytes; larger values are sent in pieces
_POLL = 2.0  # seconds between two looks at whether another process has failed
_LINGER = 20.0  # seconds that process 0, when it fails, waits for the others to end first
_FAILED = "emsa_jax/failed"
_state = {"number": 0}


class ProcessError(Exception):
    """Another process of the run has failed, was stopped, or does not answer.

    Attributes:
      code: the exit code of the other process. This one ends with it too, so that no launcher starts again what cannot
        work.
    """

    def __init__(self, reason: str, code: int = preemption.EXIT) -> None:
        super().__init__(reason)
        self.code = code


def joined() -> bool:
    """Whether this process has joined a coordination service."""
    return client() is not None


def client() -> Any:
    """The client of the coordination service, None before this process has joined it."""
    return coordination().client


def process_count() -> int:
    """How many processes the run has."""
    return coordination().num_processes if joined() else 1


def process_index() -> int:
    """The number of this process."""
    return coordination().process_id if joined() else 0


def is_main() -> bool:
    """Whether this is process 0, which writes logs, manifests and exports."""
    return process_index() == 0


def exchange(value: bytes, what: str, timeout: float | None = None) -> list[bytes]:
    """The values of all processes, in the order of their numbers.

    It also tells all processes whether one of them has received a SIGTERM: see `preemption.is_agreed`.

    Args:
      what: the name of the exchange, for errors.
      timeout: seconds; None to wait as long as the others live.

    Raises:
      ProcessError: another process failed, does not answer, or is at another exchange. The error names it.
    """
    if process_count() == 1:
        return [value]
    number = _state["number"] = _state["number"] + 1
    header = json.dumps([what, preemption.is_requested(), len(value)]).encode()
    _set(number, process_index(), 0, header)
    for piece, at in enumerate(range(0, len(value), _PIECE), 1):
        _set(number, process_index(), piece, value[at : at + _PIECE])
    values, stopping = [], False
    for process in range(process_count()):
        name, asked, size = json.loads(_wait(number, process, 0, what, timeout))
        if name != what:
            raise ProcessError(f"process {process} is at {name!r} while process {process_index()} is at {what!r}")
        stopping |= asked
        pieces = range(1, 1 - (-size // _PIECE))
        values.append(b"".join(_wait(number, process, piece, what, timeout) for piece in pieces))
    preemption.set_agreed(stopping)
    if number > 1:  # all processes have begun this exchange, so they have read the one before
        client().key_value_delete(f"emsa_jax/{number - 1}/{process_index()}/")
    return values


def broadcast(function: Callable[[], Any], what: str) -> Any:
    """What `function` returns on process 0, given to every process. It is called on process 0 alone.

    Args:
      function: returns JSON-like values. An InputError that it raises is raised on every process.
      what: the name of the exchange, for errors.
    """
    if process_count() == 1:
        return function()
    answer: dict[str, Any] = {}
    if is_main():
        try:
            answer = {"value": function()}
        except InputError as error:
            answer = {"error": str(error)}
    answer = json.loads(exchange(json.dumps(answer).encode(), what)[0])
    if "error" in answer:
        raise InputError(answer["error"])
    return answer["value"]


def all_gather(tree: Any, what: str, leaders: Sequence[int]) -> Any:
    """A tree of host arrays [rows, ...], the rows of some processes one after the other.

    Args:
      tree: the host arrays of this process.
      what: the name of the exchange, for errors.
      leaders: the processes whose rows are taken, in this order.
    """
    if process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    every = exchange(_pack([np.asarray(leaf) for leaf in leaves]), what)
    parts = [_unpack(every[process]) for process in leaders]
    return jax.tree.unflatten(structure, [np.concatenate(rows) for rows in zip(*parts, strict=True)])


def check_equal(facts: Mapping[str, Any], what: str, advice: str, timeout: float) -> None:
    """Compares JSON-like values on all processes.

    Args:
      facts: name -> value.
      what: the name of the exchange. advice: what to do about a difference. Both are for errors.
      timeout: seconds that the processes wait for each other.

    Raises:
      InputError: a value is not the same on every process. The error names the first one.
    """
    every = [json.loads(value) for value in exchange(json.dumps(dict(facts)).encode(), what, timeout)]
    for process, other in enumerate(every):
        for name in {**every[0], **other}:
            if other.get(name) != every[0].get(name):
                raise InputError(
                    f"process {process} has {name} {other.get(name)!r}, but process 0 {every[0].get(name)!r}; {advice}"
                )


def publish(reason: str, code: int) -> None:
    """Writes down why the run ends. Only the first reason is kept."""
    try:
        client().key_value_set(_FAILED, json.dumps([reason, code]))
    except jax.errors.JaxRuntimeError as error:
        if "ALREADY_EXISTS" not in str(error):
            raise


def failed() -> ProcessError | None:
    """Why the run ends; None while it does not."""
    try:
        return ProcessError(*json.loads(client().key_value_try_get(_FAILED)))
    except jax.errors.JaxRuntimeError as error:
        if "NOT_FOUND" not in str(error):
            raise
        return None


def fail(reason: str, code: int) -> None:
    """Lets the other processes know that this one fails, and with which exit code."""
    if process_count() == 1:
        return
    try:
        publish(f"process {process_index()}: {reason}", code)
        if not is_main():
            client().key_value_set(_left_key(process_index()), "", allow_overwrite=True)
            return
        # The service ends with process 0 and kills the processes that still use it: they get time to notice and to end.
        deadline = time.monotonic() + _LINGER
        for process in range(1, process_count()):
            left = deadline - time.monotonic()
            client().blocking_key_value_get(_left_key(process), max(1, int(1000 * left)))
    except Exception:  # noqa: BLE001 (the service may have stopped, and others may not answer)
        return
    time.sleep(_POLL)  # for the last process to end after it has written that it does


def leave(code: int) -> None:
    """Ends this process without waiting for the others. Child processes of its pools end with it."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(code)


def _wait(number: int, process: int, piece: int, what: str, timeout: float | None) -> bytes:
    """A piece of the value of another process. Raises ProcessError if it does not come."""
    begun = time.monotonic()
    while True:
        try:
            return client().blocking_key_value_get_bytes(_key(number, process, piece), int(_POLL * 1000))
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise ProcessError(f"process 0 cannot be reached ({str(error).splitlines()[0]})") from error
        try:
            error = failed()
        except jax.errors.JaxRuntimeError:  # the next attempt finds out why
            error = None
        if error:
            raise error
        if timeout is not None and time.monotonic() - begun > timeout:
            raise ProcessError(f"process {process} has not come to {what!r} within {timeout:g} seconds")


def _set(number: int, process: int, piece: int, value: bytes) -> None:
    client().key_value_set_bytes(_key(number, process, piece), value)


def _key(number: int, process: int, piece: int) -> str:
    return f"emsa_jax/{number}/{process}/{piece}"


def _left_key(process: int) -> str:
    return f"emsa_jax/gone/{process}"


def _pack(arrays: list[np.ndarray]) -> bytes:
    """The size of a JSON header, the header (dtypes and shapes), the bytes of the arrays."""
    header = json.dumps([[array.dtype.str, array.shape] for array in arrays]).encode()
    return len(header).to_bytes(8, "little") + header + b"".join(array.tobytes() for array in arrays)


def _unpack(data: bytes) -> list[np.ndarray]:
    """The arrays that `_pack` was given."""
    at = 8 + int.from_bytes(data[:8], "little")
    arrays = []
    for dtype, shape in json.loads(data[8:at]):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        arrays.append(np.frombuffer(data[at : at + size], dtype).reshape(shape))
        at += size
    return arrays
