"""The software and the machine that a run works on, as far as they can change its results."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = (
    "jax",
    "jaxlib",
    "numpy",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "array-record",
    "ml_dtypes",
    "safetensors",
    "tokenizers",
    "transformers",
    "av",
    "soxr",
    "scikit-learn",
)


def versions() -> dict[str, Any]:
    """Name -> version of a library, or value of what else can change results."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": len(os.sched_getaffinity(0)),
        "git": _git_commit(),
    }
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found


def _git_commit() -> str | None:
    """The commit of the repository that this package lies in, with "+" if files differ from it; None outside of one."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parents[2]), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()

    try:
        if not (Path(__file__).parents[2] / ".git").exists():
            return None
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
