"""The two things that are taken from JAX although they have no public name. Another JAX may have moved them: it is
refused by its version, instead of failing in the middle of a run."""

from __future__ import annotations

import importlib
from typing import Any

import jax

from emsa_jax.errors import InputError

TESTED = "0.10.2"  # as requirements.txt has it


def coordination() -> Any:
    """The state of JAX's coordination service: `client` (None before this process has joined), `num_processes`,
    `process_id`. Raises InputError where this JAX has it no more."""
    return _internal("distributed", "global_state")


def backends_exist() -> bool:
    """Whether JAX has already looked for devices. Raises InputError where this JAX cannot say so."""
    return _internal("xla_bridge", "backends_are_initialized")()


def _internal(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(f"jax._src.{module}"), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"jax {jax.__version__} has no {module}.{name} any more, which starting several processes needs; install "
            f"jax {TESTED}, with which this is tested"
        ) from error
