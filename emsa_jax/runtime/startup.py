"""What every process of a run does first: it joins the others, and checks that all were started in the same way."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from typing import Any

import jax

from emsa_jax.config.edge import digest, to_dict
from emsa_jax.errors import InputError
from emsa_jax.parallel import distributed, preemption, processes, watchdog
from emsa_jax.runtime import console
from emsa_jax.runtime.versions import LIBRARIES


def join(config: Any) -> None:
    """Joins the processes of the run.

    Args:
      config: the options of the run, a dataclass.

    Raises:
      InputError: processes differ in software, config or number of devices. Their programs would wait for each other
        for ever.
    """
    distributed.start()
    watchdog.watch_signals()
    if processes.process_count() == 1:
        return
    watchdog.watch()
    if not processes.is_main():
        console.be_quiet()
    software = {name: metadata.version(name) for name in LIBRARIES}
    config_of = {f"config.{name}": _short(value) for name, value in to_dict(config).items()}
    processes.check_equal(
        {"python": sys.version.split()[0]} | software,
        "software",
        "install the same versions on all hosts",
        distributed.TIMEOUT,
    )
    processes.check_equal(config_of, "config", "give the same command on all hosts", distributed.TIMEOUT)
    processes.check_equal(
        {"local devices": jax.local_device_count(), "kind of device": jax.devices()[0].device_kind},
        "devices",
        "all hosts must have the same devices",
        distributed.TIMEOUT,
    )


def check_devices() -> None:
    """Raises InputError where JAX finds no device of the kind that JAX_PLATFORMS asks for."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS", "")
        reason = str(error).strip().partition("\n")[0] or "JAX gives no reason"
        raise InputError(
            f"JAX_PLATFORMS is {asked!r}, but there is no such device here, or no JAX for it ({reason}); unset it, or "
            "set it to cpu"
            if asked
            else f"JAX finds no device ({reason}); set JAX_PLATFORMS, as to cpu"
        ) from error


def _short(value: object) -> object:
    return digest(value)[:12] if isinstance(value, dict) else value


def listen() -> None:
    """From now on a SIGTERM ends this process with one line and exit code 42, or at the end of a step: see
    `preemption`."""
    preemption.listen(_stop)


def _stop() -> None:
    """Ends this process after a SIGTERM, and with it the other processes of the run."""
    print(preemption.LINE, file=sys.stderr, flush=True)
    if processes.process_count() > 1:
        processes.fail("told to stop", preemption.EXIT)
        processes.leave(preemption.EXIT)
    sys.exit(preemption.EXIT)
