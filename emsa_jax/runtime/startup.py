"""What every process of a run does first: it joins the others, and checks that all were started in the same way."""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Any

import jax

from emsa_jax.config.edge import digest, to_dict
from emsa_jax.parallel import distributed, preemption, processes, watchdog
from emsa_jax.runtime import console
from emsa_jax.runtime.versions import LIBRARIES


def join(config: Any) -> None:
    """Joins the processes of the run and listens for SIGTERM.

    Args:
      config: the options of the run, a dataclass.

    Raises:
      InputError: processes differ in software, config or number of devices. Their programs would wait for each other
        for ever.
    """
    distributed.start()
    preemption.listen(_stop)
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


def _short(value: object) -> object:
    return digest(value)[:12] if isinstance(value, dict) else value


def _stop() -> None:
    """Ends this process after a SIGTERM, and with it the other processes of the run."""
    if processes.process_count() > 1:
        processes.fail("told to stop", preemption.EXIT)
        processes.leave(preemption.EXIT)
    sys.exit(preemption.EXIT)
