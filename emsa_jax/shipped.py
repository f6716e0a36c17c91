"""Files of the repository that an installed wheel holds too: `configs/` and `requirements.txt`, which lie beside the
package in a checkout and inside it in a wheel (setup.py puts them there)."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def shipped(name: str) -> Path:
    """Where a file or directory of the repository's root lies, such as "configs/grpo.py"."""
    inside = _PACKAGE / name
    return inside if inside.exists() else _PACKAGE.parent / name
