"""Writes the hashes of what the requirements pin, after a pin was changed: `make hashes`.

    python tools/hash_requirements.py [FILE ...]        needs uv, and the package index

Comments and lines that name another file stay. All files that the index has of a version are allowed. What the index
does not have, torch without CUDA, has its hash here.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl, of https://download.pytorch.org/whl/cpu
BESIDE_INDEX = {"torch==2.13.0+cpu": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"}
UV = "uv pip compile - --no-deps --generate-hashes --universal --python-version 3.11 --no-header --no-annotate -q"


def with_hashes(text: str) -> str:
    """The text of a file of requirements with the hashes of today."""
    lines = [line.removesuffix("\\").rstrip() for line in text.splitlines() if not line.startswith(" ")]
    kept = [line for line in lines if line.startswith(("#", "-r "))]
    beside = [line for line in lines if line.partition(" ")[0] in BESIDE_INDEX]
    pins = sorted((line for line in lines if line and line not in kept + beside), key=str.lower)
    compiled = subprocess.run(UV.split(), input="\n".join(pins), text=True, capture_output=True, check=False)
    if compiled.returncode:
        raise SystemExit(f"error: {compiled.stderr.strip()}")
    fixed = [f"{line} \\\n    --hash=sha256:{BESIDE_INDEX[line.partition(' ')[0]]}" for line in beside]
    return "\n".join([*kept, *fixed]) + "\n" + compiled.stdout


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or sorted(ROOT.glob("requirements*.txt"))):
        path.write_text(with_hashes(path.read_text()))
