"""Joining the processes of a run. A run of one process joins nobody: it has no service that could miss its heartbeats.

On TPU VMs, GKE, Slurm and Open MPI, JAX finds the other processes by itself. Elsewhere the environment says where they
are: JAX_COORDINATOR_ADDRESS (host:port of process 0; the port may be given as JAX_COORDINATOR_PORT), NNODES and
NODE_RANK.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator

import jax

from emsa_jax.errors import InputError
from emsa_jax.parallel import preemption, processes
from emsa_jax.parallel.jax_internals import backends_exist
from emsa_jax.parallel.timers import unless_done

_NEVER = 2**30  # seconds
TIMEOUT = 300  # seconds that processes wait for each other at the start


def start(timeout: int = TIMEOUT) -> None:
    """Joins all processes. It has to be called before any computation.

    Args:
      timeout: seconds to wait for the others. If they do not come, this process ends with one line and exit code 42.

    Raises:
      InputError: the environment contradicts itself.
    """
    jax.config.update("jax_enable_preemption_service", False)  # `preemption` handles SIGTERM
    if processes.joined():
        return
    named = _named()
    if named and named[1] == 1:
        named = None
    if backends_exist():  # as in a notebook: it is too late to join other processes
        if named:
            raise InputError(
                "JAX was used before the run began, which is too late to join other processes; start it "
                "with python -m emsa_jax.main"
            )
        return
    # The service would end every process when the wall clock, by which it counts their heartbeats, is set back. It may
    # neither expect any nor take a process without for lost: `watchdog` does so, by a clock that nobody sets.
    jax.config.update("jax_enable_recoverability", True)
    options = {
        "initialization_timeout": timeout + 60,
        "shutdown_timeout_seconds": 60,
        "heartbeat_timeout_seconds": _NEVER,
    }
    with _end_after(timeout, named):
        try:
            if named:
                jax.distributed.initialize(*named, cluster_detection_method="deactivate", **options)
            else:
                jax.distributed.initialize(**options)
        except ValueError as error:
            if "should be defined" not in str(error) and "must be defined" not in str(error):
                raise
            for name in ("JAX_COORDINATOR_ADDRESS", "NODE_RANK"):  # without an error, every host would train by itself
                if os.environ.get(name):
                    raise InputError(
                        f"{name} is set, but not how many processes there are; set NNODES too, or unset "
                        f"{name} for a run of one process"
                    ) from error
    if processes.process_count() == 1 and processes.joined():  # a cluster of one machine
        jax.distributed.shutdown()
    elif processes.joined():
        atexit.register(_leave_together)


def _leave_together() -> None:
    """Waits at the end for the others, which a service that expects no heartbeats does not, and stops it last of all:
    a process that still listens to it would abort."""
    client = processes.client()
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # one of them was killed, or the service is gone
        client.wait_at_barrier("emsa_jax/end", 60_000)
        if processes.is_main():
            for number in range(1, processes.process_count()):
                client.blocking_key_value_get(f"emsa_jax/left/{number}", 60_000)
            time.sleep(1.0)
        else:
            client.key_value_set(f"emsa_jax/left/{processes.process_index()}", "")
        jax.distributed.shutdown()


def _named() -> tuple[str, int, int] | None:
    """(address of process 0, number of processes, number of this one) by the environment, None if it does not say."""
    env = os.environ
    count = env.get("NNODES") or env.get("JAX_NUM_PROCESSES")
    if not count:
        return None
    address, rank = env.get("JAX_COORDINATOR_ADDRESS", ""), env.get("NODE_RANK") or env.get("JAX_PROCESS_ID")
    if address and ":" not in address and env.get("JAX_COORDINATOR_PORT"):
        address = f"{address}:{env['JAX_COORDINATOR_PORT']}"
    try:
        num_processes, number = int(count), int(rank or 0)
    except ValueError as error:
        raise InputError(f"NNODES and NODE_RANK must be numbers, not {count!r} and {rank!r}") from error
    if num_processes > 1 and (not address or rank is None):
        raise InputError(
            f"NNODES is {num_processes}: set JAX_COORDINATOR_ADDRESS (host:port of process 0) and NODE_RANK "
            "(the number of this process) too"
        )
    if not 0 <= number < num_processes:
        raise InputError(f"NODE_RANK is {number}, but must be at least 0 and below NNODES, {num_processes}")
    if num_processes > 1:
        _check_address(address, listens=number == 0)
    return address, num_processes, number


def _check_address(address: str, listens: bool) -> None:
    """Raises InputError for an address that JAX would end at with a traceback or a segmentation fault.

    Args:
      listens: whether this is process 0, which listens on the port of the address: it must be free.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
        raise InputError(
            f"JAX_COORDINATOR_ADDRESS is {address!r}, but must be host:port of process 0, or the host "
            "with the port as JAX_COORDINATOR_PORT"
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if listens:
                probe.bind(("", int(port)))
        except OSError as error:
            raise InputError(
                f"JAX_COORDINATOR_ADDRESS: port {port} of this host cannot be had ({error.strerror}); "
                "name another one on all hosts"
            ) from error


@contextlib.contextmanager
def _end_after(timeout: int, named: tuple[str, int, int] | None) -> Iterator[None]:
    """Ends the process with one line if the body takes longer. JAX would abort with a page of messages."""

    def give_up() -> None:
        expected, ranks = (f"{named[1]} processes", ", each NODE_RANK once") if named else ("processes", "")
        print(
            f"error: not all {expected} came within {timeout} seconds{_unknown_host(named)}; start the same command on "
            f"every host{ranks}, and see that process 0 can be reached",
            file=sys.stderr,
            flush=True,
        )
        processes.leave(preemption.EXIT)

    with unless_done(timeout, give_up):
        yield


def _unknown_host(named: tuple[str, int, int] | None) -> str:
    """A remark for the error, if the host of process 0 has no address here. A cluster may give it one late, so that is
    no error before the time is over."""
    host = named[0].rpartition(":")[0].strip("[]") if named else ""
    try:
        if host:
            socket.getaddrinfo(host, None)
    except OSError:
        return f" (no address is known here for {host}, of JAX_COORDINATOR_ADDRESS)"
    return ""
