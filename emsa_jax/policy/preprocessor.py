"""A checkpoint's preprocessor settings: what it was trained to see and hear.

`preprocessor_config.json` has those of sound and pictures in one object; `processor_config.json`, as `transformers` 5
writes it, has an object for each. Where a directory has several files, they must say the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object
from emsa_jax.policy.prompt_row import MEAN, STD
from emsa_jax.policy.thinker_config import ThinkerConfig

_SOUND = {"sampling_rate": 16000, "hop_length": 160, "n_fft": 400, "dither": 0.0}
_PICTURES = {"do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
_LEAST_STD = 1e-3  # of pixel values from 0 to 1
_OF_VIDEO = ("image_mean", "image_std", "patch_size", "temporal_patch_size", "merge_size", *_PICTURES)
_SECTIONS = ("feature_extractor", "image_processor", "video_processor")
_EDGES = {"min_pixels": "shortest_edge", "max_pixels": "longest_edge"}
_MOST_PIXELS = 2**30


@dataclass(frozen=True)
class Preprocessor:
    """Pixel statistics of the vision tower, and the bounds of height x width that the checkpoint allows."""

    image_mean: tuple[float, ...] = tuple(map(float, MEAN))
    image_std: tuple[float, ...] = tuple(map(float, STD))
    min_pixels: int = 3136
    max_pixels: int = 12845056


def read_preprocessor(directory: str | Path, config: ThinkerConfig) -> Preprocessor:
    """Reads the preprocessor files of a policy directory; the released values where there is none.

    Raises: InputError naming the file and the setting: one that does not fit our log-mel or the policy's towers, is no
    such value, or is another one in another file.
    """
    wanted, found = _wanted(config), {}
    for where, settings in _sources(Path(directory)):
        for field, value in settings.items():
            if field in wanted and not _same(value, wanted[field]):
                raise InputError(f"{where}: {field} is {value!r}, but this policy needs {wanted[field]}")
            if field not in (*wanted, *_EDGES, "image_mean", "image_std"):
                continue
            before, other = found.setdefault(field, (value, where))
            if not _same(value, before):
                raise InputError(f"{where}: {field} is {value!r}, but {other} says {before!r}; correct one of them")
    values = {field: found[field] for field in ("image_mean", "image_std", *_EDGES) if field in found}
    for field, (value, where) in values.items():
        _require_sound(field, value, where)
    read = {field: tuple(map(float, v)) if field not in _EDGES else v for field, (v, _) in values.items()}
    pixels = Preprocessor(**read)
    if pixels.min_pixels > pixels.max_pixels:
        where = values.get("min_pixels", values.get("max_pixels"))[1]
        raise InputError(f"{where}: min_pixels is {pixels.min_pixels}, above max_pixels, {pixels.max_pixels}")
    return pixels


def _wanted(config: ThinkerConfig) -> dict[str, Any]:
    wanted = dict(_SOUND)
    if config.audio:
        wanted["feature_size"] = config.audio.num_mel_bins
    if vision := config.vision:
        wanted |= _PICTURES | {
            "patch_size": vision.patch_size,
            "temporal_patch_size": vision.temporal_patch_size,
            "merge_size": vision.spatial_merge_size,
        }
    return wanted


def _sources(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and section, its settings without those that are null), for every file that is there."""
    path = directory / "preprocessor_config.json"
    yield str(path), _flat(read_object(path) or {}, str(path))
    path = directory / "processor_config.json"
    nested = read_object(path) or {}
    for section in _SECTIONS:
        if nested.get(section) is not None:
            where = f"{path}: {section}"
            yield where, _of(section, _flat(nested[section], where))
    path = directory / "video_preprocessor_config.json"
    yield str(path), _of("video_processor", _flat(read_object(path) or {}, str(path)))


def _flat(raw: Any, where: str) -> dict[str, Any]:
    """Settings, with the edges of `size` as bounds of height x width, which they are unless those are given."""
    if not isinstance(raw, dict) or not isinstance(raw.get("size") or {}, dict):
        raise InputError(f"{where}: not an object of settings")
    size = raw.get("size") or {}
    edges = {field: size.get(edge) for field, edge in _EDGES.items()}
    given = {field: value for field, value in raw.items() if value is not None}
    return {field: value for field, value in (edges | given).items() if value is not None}


def _of(section: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A video's frames are pictures to us: what says how large they are is the images' alone."""
    return {f: v for f, v in settings.items() if section != "video_processor" or f in _OF_VIDEO}


def _require_sound(field: str, value: Any, where: str) -> None:
    if field in _EDGES:
        if type(value) is not int or not 0 < value <= _MOST_PIXELS:
            raise InputError(f"{where}: {field} is {value!r}, but must be a whole number from 1 to {_MOST_PIXELS}")
        return
    numbers = isinstance(value, list) and len(value) == 3 and all(type(v) in (int, float) for v in value)
    least, which = (_LEAST_STD, f" from {_LEAST_STD}") if field == "image_std" else (-1000, "")
    if not numbers or not all(least <= v <= 1000 for v in value):
        raise InputError(f"{where}: {field} is {value!r}, but must be three numbers{which} to 1000")


def _same(value: Any, other: Any) -> bool:
    """Whether two settings say the same; numbers with a point are written with more or fewer digits."""
    if isinstance(other, float) and type(value) in (int, float):
        return math.isclose(value, other, rel_tol=1e-5)
    return value == other
