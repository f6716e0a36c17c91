"""Writes the hashes of what the requirements pin, after a pin was changed: `make hashes`.

    python tools/hash_requirements.py [FILE ...]        needs uv, and the package index

Lines that pin nothing, comments and other files that are read, stay where they are. All files that the index has of a
version are allowed, and for torch the wheel without CUDA, which the index does not have.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl, of https://download.pytorch.org/whl/cpu
BESIDE_INDEX = {"torch==2.13.0": "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"}
UV = "uv pip compile - --no-deps --generate-hashes --universal --python-version 3.11 --no-header --no-annotate -q"


def with_hashes(text: str) -> str:
    """The text of a file of requirements with the hashes of today."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("--hash=")]
    kept = [line for line in lines if line.startswith(("#", "-r "))]
    pins = [line.removesuffix("\\").strip() for line in lines if line not in kept and line.strip()]
    pins.sort(key=str.lower)
    compiled = subprocess.run(UV.split(), input="\n".join(pins), text=True, capture_output=True, check=False)
    if compiled.returncode:
        raise SystemExit(f"error: {compiled.stderr.strip()}")
    found = compiled.stdout
    for pin, sha256 in BESIDE_INDEX.items():
        found = found.replace(f"{pin} \\\n", f"{pin} \\\n    --hash=sha256:{sha256} \\\n")
    return "\n".join(kept) + "\n" + found


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:] or sorted(ROOT.glob("requirements*.txt"))):
        path.write_text(with_hashes(path.read_text()))
