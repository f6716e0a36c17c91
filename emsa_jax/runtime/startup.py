"""What every process of a run does first: joins the others, and sees that all mean the same."""

from __future__ import annotations

import sys
from importlib import metadata

import jax

from emsa_jax.config.edge import digest, to_dict
from emsa_jax.parallel import distributed, preemption, processes, watchdog
from emsa_jax.runtime import console
from emsa_jax.runtime.run import LIBRARIES
from emsa_jax.settings.config import Config


def join(config: Config) -> None:
    """Joins the processes of the run and listens for SIGTERM. Raises InputError where processes differ in software,
    config or number of devices: their programs would wait for each other for ever."""
    distributed.start(config.mesh.timeout)
    preemption.listen(_told_to_stop)
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
        config.mesh.timeout,
    )
    processes.check_equal(config_of, "config", "give the same command on all hosts", config.mesh.timeout)
    processes.check_equal(
        {"local devices": jax.local_device_count(), "kind of device": jax.devices()[0].device_kind},
        "devices",
        "all hosts must have the same devices",
        config.mesh.timeout,
    )


def _short(value: object) -> object:
    return digest(value)[:12] if isinstance(value, dict) else value


def _told_to_stop() -> None:
    if processes.process_count() > 1:
        processes.fail("told to stop", preemption.EXIT)
        processes.leave(preemption.EXIT)
    sys.exit(preemption.EXIT)
