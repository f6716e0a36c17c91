"""Which labels count as others, for classes too sparse to keep."""

from collections.abc import Callable, Mapping
from pathlib import Path

from emsa_jax.data.annotation.votes import SENTIMENT, spelled
from emsa_jax.errors import InputError
from emsa_jax.json_file import read_json


def read_merge(path: str | Path, spellings: Mapping[str, Callable] | None = None) -> dict[str, dict[str, str]]:
    """{"speaking_style": {"Scientific exposition": "General Narrative Exposition"}} from a JSON file, labels spelled as
    `spellings` (field -> reader of its labels) do. InputError where a label counts as one that counts as another."""
    content = read_json(path, "config.merge")
    fields = content.values() if isinstance(content, dict) else [None]
    if not all(
        isinstance(table, dict) and all(isinstance(v, str) and v.strip() for v in table.values()) for table in fields
    ):
        raise InputError(f"config.merge: {path} must be an object of objects: field -> label -> the label it counts as")
    if SENTIMENT in content:
        raise InputError(f"config.merge: {path}: votes on sentiment are numbers, which are averaged, not merged")
    merge = {}
    for field, table in content.items():
        found = {spelled(field, a.strip(), spellings or {}): spelled(field, b.strip(), spellings or {})
                 for a, b in table.items()}  # fmt: skip
        for label, target in found.items():
            if found.get(target, target) != target:
                raise InputError(
                    f"config.merge: {path}: {field} {label!r} counts as {target!r}, which counts as "
                    f"{found[target]!r}; name the last one for both"
                )
        merge[field] = found
    return merge
