"""What a policy was trained for: how it expects to be asked, and in which form it answers.

A file of a policy's or adapter's directory says so, `emsa.json`. Imports no jax.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object

NAME = "emsa.json"
_MOST_BYTES, _LONGEST, _MOST = 100_000, 200, 1e9
_MODALITIES = ("text", "audio", "video")
# lowest (0, unknown, is one too) and highest value of what a video is asked for
_OF_FRAMES = {"num_frames": (1, 10**4), "fps": (1e-3, 1e3), "max_pixels": (3136, 2**26)}
_ONE_OF = {"classes": (3, 5), "capitals": ("kept", "lowered")}


@dataclass(frozen=True, kw_only=True)
class TrainedFor:
    """Attributes:
    format: the name of the form of its answers.
    score_range: lowest and highest score that it gives.
    language: in which it was asked; "" for several.
    modalities: what its prompts had.
    audio_in_video: whether sound and frames were interleaved.
    capitals: what became of words that are all in capitals, as in `PromptOptions`.
    num_frames, fps, max_pixels: how frames were taken of a video, as in `PrepareOptions`; 0, 0 and 0 if nobody knows.
    classes: of sentiment, where answers name one.
    concepts: names of the concepts that answers may mark.
    """

    format: str
    score_range: tuple[float, float]
    language: str = ""
    modalities: tuple[str, ...] = _MODALITIES
    audio_in_video: bool = False
    capitals: str = "kept"
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
        once = known and len(set(value)) == len(value)
        return once and (name == "concepts" or (bool(value) and set(value) <= set(_MODALITIES)))
    if name == "score_range":
        numbers = isinstance(value, list) and len(value) == 2 and all(type(one) in (int, float) for one in value)
        return numbers and all(abs(one) <= _MOST for one in value) and value[0] < value[1]
    if name in ("format", "language"):
        return isinstance(value, str) and len(value) <= _LONGEST
    if name == "audio_in_video":
        return isinstance(value, bool)
    if name in _ONE_OF:
        return type(value) in (int, str) and value in _ONE_OF[name]
    least, most = _OF_FRAMES[name]
    return type(value) in ((int, float) if name == "fps" else (int,)) and (value == 0 or least <= value <= most)


def differences(directories: Iterable[Path | None], **asked: Any) -> list[str]:
    """A warning for each field in which a policy is asked otherwise than it was trained, as the first of some
    directories says that has an emsa.json."""
    places = list(filter(None, directories))
    trained_for = read_trained_for(*places)
    if trained_for is None:
        return []
    where = next(place / NAME for place in places if (place / NAME).exists())
    return [
        f"warning: {name} is {_listed(value)}, but {where} says that the policy was trained with "
        f"{_listed(getattr(trained_for, name))}"
        for name, value in asked.items()
        if _listed(value) != _listed(getattr(trained_for, name))
    ]


def _listed(value: Any) -> Any:
    return [float(one) if type(one) is int else one for one in value] if isinstance(value, tuple | list) else value
