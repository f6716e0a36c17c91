"""JSON files that a person wrote: what could be taken in two ways is refused."""

import json
from pathlib import Path
from typing import Any

from emsa_jax.errors import InputError


def read_json(path: str | Path, field: str) -> Any:
    """The content of the file that a config field names. InputError naming both for one that cannot be read, a name
    given twice, or half a surrogate pair, which no file can hold."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
        json.dumps(content, ensure_ascii=False).encode()
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{field}: {path} cannot be read: {reason}") from error
    return content


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. ValueError for a name that stands in it twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} is given twice")
    return found
