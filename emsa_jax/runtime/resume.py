"""Going on where a killed run stopped."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from emsa_jax.errors import InputError
from emsa_jax.learning.checkpoints import Checkpoints
from emsa_jax.runtime.console import say


def resume(
    checkpoints: Checkpoints,
    fresh: Any,
    identity: dict[str, str],
    meta: dict[str, Any],
    may_lack: Collection[str] = (),
) -> tuple[Any, dict[str, Any], int]:
    """(state, meta, step) of the newest sound checkpoint, or the fresh ones and 0.

    identity: hashes of what must not have changed meanwhile. may_lack: names of `meta` that earlier versions did not
    write. Raises: InputError naming the hash that has changed.
    """
    found = checkpoints.restore_newest(fresh)
    if found is None:
        return fresh, meta, 0
    state, saved, step = found
    for name, value in identity.items():
        if saved.get(name) != value:
            raise InputError(
                f"{checkpoints.directory}: its {name} is not what this run would use (the data or the "
                "settings have changed); remove the directory to start this stage afresh"
            )
    saved = {name: meta[name] for name in may_lack} | saved
    if lacking := [name for name in meta if name not in saved]:
        raise InputError(f"{checkpoints.directory}: step {step} does not say {lacking[0]}; remove it to go on")
    say(f"going on after step {step} of {checkpoints.directory.parent.name}")
    return state, {name: saved[name] for name in meta}, step
