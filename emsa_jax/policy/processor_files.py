"""The files by which `transformers` makes a policy's processor of sound, pictures and text.

`preprocessor_config.json` is what the released sizes have and older versions read; `processor_config.json` is how
`transformers` 5 writes the same, an object for each part. The processor asks the tokenizer for media tokens by name.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from emsa_jax.json_file import read_object
from emsa_jax.policy.hf_config import fits_thinker
from emsa_jax.policy.media_tokens import MEDIA_TOKENS
from emsa_jax.policy.preprocessor import Preprocessor, read_preprocessor
from emsa_jax.policy.thinker_config import ThinkerConfig

CLASS = "Qwen2_5OmniProcessor"
_FLAT, _NESTED = "preprocessor_config.json", "processor_config.json"
_PARTS = ("feature_extractor", "image_processor", "video_processor")
_TOKENIZER, _TOKENS = "tokenizer_config.json", "tokenizer.json"


def preprocessor_settings(config: ThinkerConfig, pixels: Preprocessor) -> dict[str, Any]:
    """What `preprocessor_config.json` holds of what a policy's towers hear and see."""
    settings: dict[str, Any] = {}
    if config.audio:
        settings |= _sound(config)
    if config.vision:
        settings |= {"image_processor_type": "Qwen2VLImageProcessor"} | asdict(pixels) | _patches(config)
    return settings


def complete_processor(directory: Path, config: ThinkerConfig) -> None:
    """Adds to a directory with a tokenizer what it lacks to be opened as a processor, where the policy is one that
    `transformers` has. Files that describe the whole of its processor stay as they are."""
    if not fits_thinker(config) or not (directory / _TOKENS).exists():
        return
    if not _describes_all(directory):
        pixels = read_preprocessor(directory, config)
        size = {"shortest_edge": pixels.min_pixels, "longest_edge": pixels.max_pixels}
        seen = {"image_mean": pixels.image_mean, "image_std": pixels.image_std, "size": size} | _patches(config)
        parts = {
            "processor_class": CLASS,
            "feature_extractor": _sound(config),
            "image_processor": {"image_processor_type": "Qwen2VLImageProcessor"} | seen,
            "video_processor": {"video_processor_type": "Qwen2VLVideoProcessor"} | seen,
        }
        _write(directory / _NESTED, parts)
    _name_media_tokens(directory, config)
    template = (read_object(directory / _TOKENIZER) or {}).get("chat_template")
    if isinstance(template, str) and not any(
        (directory / f"chat_template.{end}").exists() for end in ("jinja", "json")
    ):
        (directory / "chat_template.jinja").write_text(template)  # where a processor looks for it


def _describes_all(directory: Path) -> bool:
    """Whether a file says what the processor of the policy is, and what each of its parts is."""
    nested, flat = (read_object(directory / name) or {} for name in (_NESTED, _FLAT))
    if nested:
        return nested.get("processor_class") == CLASS and all(isinstance(nested.get(part), dict) for part in _PARTS)
    named = flat.get("processor_class") or (read_object(directory / _TOKENIZER) or {}).get("processor_class")
    return named == CLASS and {"feature_extractor_type", "image_processor_type"} <= flat.keys()


def _sound(config: ThinkerConfig) -> dict[str, Any]:
    return dict(
        feature_extractor_type="WhisperFeatureExtractor",
        feature_size=config.audio.num_mel_bins,
        sampling_rate=16000,
        hop_length=160,
        n_fft=400,
        chunk_length=300,
        n_samples=4800000,
        nb_max_frames=30000,
        padding_side="right",
        padding_value=0.0,
        return_attention_mask=True,
    )


def _patches(config: ThinkerConfig) -> dict[str, int]:
    return dict(
        patch_size=config.vision.patch_size,
        temporal_patch_size=config.vision.temporal_patch_size,
        merge_size=config.vision.spatial_merge_size,
    )


def _name_media_tokens(directory: Path, config: ThinkerConfig) -> None:
    """Gives the media tokens of a tokenizer their names, where it has none or other ones for them."""
    settings = read_object(directory / _TOKENIZER) or {}
    extra = settings.get("extra_special_tokens") or {}
    added = (read_object(directory / _TOKENS) or {}).get("added_tokens") or []
    tokens = {token["id"]: token["content"] for token in added}
    extra = extra if isinstance(extra, dict) else {}  # a list gives no names, and its tokens are the tokenizer's
    missing = {
        name: tokens[id]
        for name, (_, field) in MEDIA_TOKENS.items()
        if (id := getattr(config, field)) in tokens and _content(extra.get(name, settings.get(name))) != tokens[id]
    }
    if missing:
        others = {name: value for name, value in settings.items() if name not in missing}
        _write(directory / _TOKENIZER, others | {"extra_special_tokens": extra | missing})


def _content(token: Any) -> Any:
    """A token's text, which may stand in an object."""
    return token.get("content") if isinstance(token, dict) else token


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
