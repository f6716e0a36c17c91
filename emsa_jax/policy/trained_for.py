"""What a policy was trained for: how it expects to be asked, and in which form it answers.

A file of a policy's or adapter's directory says so, `emsa.json`. Imports no jax.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object

NAME = "emsa.json"
_MOST_BYTES, _LONGEST, _MOST = 100_000, 200, 1e9
_MODALITIES = ("text", "audio", "video")


@dataclass(frozen=True, kw_only=True)
class TrainedFor:
    """Attributes:
    format: the name of the form of its answers.
    score_range: lowest and highest score that it gives.
    language: in which it was asked; "" for several.
    modalities: what its prompts had.
    audio_in_video: whether sound and frames were interleaved.
    num_frames, fps, max_pixels: how frames were taken of a video, as in `PrepareOptions`; 0, 0 and 0 if nobody knows.
    classes: of sentiment, where answers name one.
    concepts: names of the concepts that answers may mark.
    """

    format: str
    score_range: tuple[float, float]
    language: str = ""
    modalities: tuple[str, ...] = _MODALITIES
    audio_in_video: bool = False
    num_frames: int = 0
    fps: float = 0.0
    max_pixels: int = 0
    classes: int = 3
    concepts: tuple[str, ...] = ()


def write_trained_for(directory: Path, trained_for: TrainedFor) -> None:
    """Writes emsa.json."""
    (directory / NAME).write_text(json.dumps(asdict(trained_for), indent=2, ensure_ascii=False) + "\n")


def read_trained_for(*directories: Path | None) -> TrainedFor | None:
    """What the first of some directories that has an emsa.json says; None where none has one.

    Raises: InputError naming the file and the field, for one that cannot be read, or a value that cannot be meant."""
    for directory in filter(None, directories):
        path = Path(directory) / NAME
        if path.is_file() and path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path}: is larger than {_MOST_BYTES} bytes; restore it, or remove it")
        if (raw := read_object(path)) is not None:
            return _checked(raw, path)
    return None


def _checked(raw: dict[str, Any], path: Path) -> TrainedFor:
    names = [field.name for field in fields(TrainedFor)]
    if unknown := sorted(raw.keys() - set(names)):
        raise InputError(f"{path}: {unknown[0]} is no field; restore the file, or remove it")
    if missing := [name for name in ("format", "score_range") if name not in raw]:
        raise InputError(f"{path}: {missing[0]} is missing; restore the file, or remove it")
    for name, value in raw.items():
        if not _sound(name, value):
            raise InputError(f"{path}: {name} is {repr(value)[:80]}, which cannot be meant; restore the file")
    return TrainedFor(**{name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()})


def _sound(name: str, value: Any) -> bool:
    if name in ("modalities", "concepts"):
        known = isinstance(value, list) and all(isinstance(one, str) and len(one) <= _LONGEST for one in value)
        return known and (name == "concepts" or (bool(value) and set(value) <= set(_MODALITIES)))
    if name == "score_range":
        numbers = isinstance(value, list) and len(value) == 2 and all(type(one) in (int, float) for one in value)
        return numbers and all(abs(one) <= _MOST for one in value) and value[0] < value[1]
    if name in ("format", "language"):
        return isinstance(value, str) and len(value) <= _LONGEST
    if name == "audio_in_video":
        return isinstance(value, bool)
    kinds = (int, float) if name == "fps" else (int,)
    return type(value) in kinds and math.isfinite(min(value, _MOST)) and 0 <= value <= _MOST
