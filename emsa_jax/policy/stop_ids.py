"""Which tokens end an answer: read from, and written to, `config.json` and `generation_config.json`.

`transformers` generates by the second file, and either may hold one id or a list. All ids of both files count; the
first is the one that taught answers end with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object
from emsa_jax.policy.thinker_config import ThinkerConfig

GENERATION_CONFIG = "generation_config.json"
_FIELD = "eos_token_id"


def with_stop_ids(config: ThinkerConfig, raw: Mapping[str, Any], directory: str | Path) -> ThinkerConfig:
    """The config with the stop ids of a directory, whose config.json is `raw`; as it is where none are named.

    Raises: InputError naming the file, for an id that is none of the vocabulary.
    """
    directory = Path(directory)
    thinker = raw.get("thinker_config") or raw
    sections = [section for section in (thinker, thinker.get("text_config"), raw) if isinstance(section, dict)]
    found = [id for section in sections for id in _ids(section, directory / "config.json", config.text.vocab_size)]
    found += _ids(
        read_object(directory / GENERATION_CONFIG) or {}, directory / GENERATION_CONFIG, config.text.vocab_size
    )
    return with_ids(config, found) if found else config


def with_ids(config: ThinkerConfig, ids: list[int] | tuple[int, ...]) -> ThinkerConfig:
    """The config with these stop ids, the first of which ends taught answers."""
    first, *others = dict.fromkeys(ids)
    return replace(config, eos_token_id=first, other_stop_ids=tuple(others))


def generation_config(config: ThinkerConfig, source: str | Path | None) -> dict[str, Any]:
    """What `generation_config.json` of an export holds: that of `source`, the directory the policy came from, with
    every stop id."""
    raw = (read_object(Path(source) / GENERATION_CONFIG) if source else None) or {}
    ids = list(config.stop_ids)
    return raw | {_FIELD: ids if len(ids) > 1 else ids[0], "pad_token_id": config.pad_token_id}


def _ids(section: Mapping[str, Any], path: Path, vocab_size: int) -> Iterator[int]:
    value = section.get(_FIELD)
    if value is None:
        return
    ids = value if isinstance(value, list) else [value]
    for id in ids:
        if isinstance(id, bool) or not isinstance(id, int) or not 0 <= id < vocab_size:
            raise InputError(
                f"{path}: {_FIELD} is {value!r}, but must be ids below {vocab_size}, the vocabulary's size"
            )
        yield id
    if not ids:
        raise InputError(f"{path}: {_FIELD} is an empty list, but a policy must be able to end an answer")
