"""What a job that is no run leaves in the directory that it was told."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emsa_jax.errors import InputError
from emsa_jax.manifest import write_together


def write_outputs(out: Path, files: Mapping[str, bytes]) -> None:
    """Writes name -> content into config.out, all or nothing. Raises InputError naming what cannot be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_together(out, files)
    except OSError as error:
        raise InputError(f"config.out: {error.filename or out} cannot be written: {error.strerror}") from error
