"""A checkpoint's preprocessor settings: what it was trained to see and hear."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from emsa_jax.errors import InputError
from emsa_jax.policy.prompt_row import MEAN, STD
from emsa_jax.policy.thinker_config import ThinkerConfig

_FIXED = {"sampling_rate": 16000, "hop_length": 160, "n_fft": 400}


@dataclass(frozen=True)
class Preprocessor:
    """Pixel statistics of the vision tower, and the bounds of height x width that the checkpoint allows."""

    image_mean: tuple[float, ...] = tuple(map(float, MEAN))
    image_std: tuple[float, ...] = tuple(map(float, STD))
    min_pixels: int = 3136
    max_pixels: int = 12845056


def read_preprocessor(directory: str | Path, config: ThinkerConfig) -> Preprocessor:
    """Reads preprocessor_config.json; the released values where there is none.

    Raises: InputError naming a setting that does not fit our log-mel or the policy's towers.
    """
    path = Path(directory) / "preprocessor_config.json"
    if not path.exists():
        return Preprocessor()
    try:
        raw = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("size") or {}, dict):
        raise InputError(f"{path}: not an object of settings")
    wanted = dict(_FIXED)
    if config.audio:
        wanted["feature_size"] = config.audio.num_mel_bins
    if vision := config.vision:
        wanted |= {
            "patch_size": vision.patch_size,
            "temporal_patch_size": vision.temporal_patch_size,
            "merge_size": vision.spatial_merge_size,
        }
    for field, value in wanted.items():
        if raw.get(field, value) != value:
            raise InputError(f"{path}: {field} is {raw[field]!r}, but this policy needs {value}")
    size = raw.get("size") or {}
    default = Preprocessor()
    return Preprocessor(
        tuple(raw.get("image_mean") or default.image_mean),
        tuple(raw.get("image_std") or default.image_std),
        raw.get("min_pixels") or size.get("shortest_edge") or default.min_pixels,
        raw.get("max_pixels") or size.get("longest_edge") or default.max_pixels,
    )
