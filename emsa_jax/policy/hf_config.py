"""The Thinker's configuration, read from and written as Hugging Face's config.json.

Only what Qwen2.5-Omni checkpoints use is accepted; anything else (another activation, sliding windows, scaled rotary
embeddings) is an error, never ignored.
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

from emsa_jax.errors import InputError
from emsa_jax.policy.thinker_config import AudioConfig, TextConfig, ThinkerConfig, VisionConfig

_TOKEN_KEYS = {
    "audio_token_id": "audio_token_index",
    "image_token_id": "image_token_index",
    "video_token_id": "video_token_index",
}


def read_config(directory: str | Path) -> ThinkerConfig:
    """Reads `config.json` of a thinker-only or full Qwen2.5-Omni directory, in the old or the new spelling.

    Raises: InputError naming the file and the field.
    """
    path = Path(directory) / "config.json"
    try:
        raw = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); a policy directory needs config.json") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error})") from error
    return from_hf(raw, str(path))


def from_hf(raw: dict, where: str = "config.json") -> ThinkerConfig:
    """The configuration that a Hugging Face dict describes; see `read_config`."""
    raw = raw.get("thinker_config", raw) if isinstance(raw, dict) else raw
    if not isinstance(raw, dict):
        raise InputError(f"{where}: not an object; not a Qwen2.5-Omni Thinker configuration")
    for section in ("text_config", "audio_config", "vision_config"):
        if not isinstance(raw.get(section), dict):
            raise InputError(f"{where}: {section} is missing; not a Qwen2.5-Omni Thinker configuration")
    text, vision = dict(raw["text_config"]), dict(raw["vision_config"])
    rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
    vision_rope = vision.get("rope_parameters") or {}
    for name, value in (("text_config", rope), ("vision_config", vision_rope)):
        _require(isinstance(value, dict), where, f"{name}.rope_parameters", value, "an object")
    kind = rope.get("rope_type", rope.get("type", "default"))
    _require(kind in ("default", "mrope"), where, "text_config.rope_scaling.type", kind, "default")
    text["rope_theta"] = rope.get("rope_theta", text.get("rope_theta", TextConfig.rope_theta))
    text["mrope_section"] = rope.get("mrope_section")
    vision["rope_theta"] = vision_rope.get("rope_theta")
    vision["hidden_size"] = vision.get("hidden_size", 3584)  # the class default, not the checkpoints' 1280
    _require(not text.get("use_sliding_window"), where, "text_config.use_sliding_window", True, False)
    _require(text.get("hidden_act", "silu") == "silu", where, "text_config.hidden_act", text.get("hidden_act"), "silu")
    _require(
        vision.get("hidden_act", "silu") == "silu", where, "vision_config.hidden_act", vision.get("hidden_act"), "silu"
    )
    audio = raw["audio_config"]
    _require(
        audio.get("activation_function", "gelu") == "gelu",
        where,
        "audio_config.activation_function",
        audio.get("activation_function"),
        "gelu",
    )
    top = {
        f.name: raw[k]
        for f in fields(ThinkerConfig)
        if f.name not in ("text", "audio", "vision")
        for k in (_TOKEN_KEYS.get(f.name, f.name), f.name)
        if raw.get(k) is not None
    }
    if top.get("eos_token_id") and isinstance(top["eos_token_id"], list):
        top["eos_token_id"] = top["eos_token_id"][0]
    for name, value in top.items():
        _require(_like(value, getattr(ThinkerConfig, name), 0), where, name, value, "a value of its type")
    config = ThinkerConfig(
        text=_section(TextConfig, text, f"{where}: text_config"),
        audio=_section(AudioConfig, audio, f"{where}: audio_config"),
        vision=_section(VisionConfig, vision, f"{where}: vision_config"),
        **top,
    )
    head_dim = text.get("head_dim") or config.text.head_dim
    _require(head_dim == config.text.head_dim, where, "text_config.head_dim", head_dim, config.text.head_dim)
    _require(
        2 * sum(config.text.mrope_section) == head_dim,
        where,
        "mrope_section",
        config.text.mrope_section,
        f"a sum of {head_dim // 2}",
    )
    return config


def to_hf(config: ThinkerConfig, dtype: str = "float32") -> dict:
    """The thinker-only config.json (released spelling, which old and new `transformers` read)."""
    text = asdict(config.text)
    section = list(text.pop("mrope_section"))
    text.pop("attention")
    text.update(
        model_type="qwen2_5_omni_text",
        hidden_act="silu",
        tie_word_embeddings=config.tie_word_embeddings,
        rope_scaling={"mrope_section": section, "rope_type": "default", "type": "default"},
    )
    vision = asdict(config.vision)
    vision.pop("rope_theta")
    vision.update(
        model_type="qwen2_5_omni_vision_encoder",
        hidden_act="silu",
        fullatt_block_indexes=list(config.vision.fullatt_block_indexes),
    )
    audio = dict(asdict(config.audio), model_type="qwen2_5_omni_audio_encoder", activation_function="gelu")
    top = {
        _TOKEN_KEYS.get(f.name, f.name): getattr(config, f.name)
        for f in fields(ThinkerConfig)
        if f.name not in ("text", "audio", "vision")
    }
    return dict(
        top,
        architectures=["Qwen2_5OmniThinkerForConditionalGeneration"],
        model_type="qwen2_5_omni_thinker",
        dtype=dtype,
        torch_dtype=dtype,
        text_config=text,
        audio_config=audio,
        vision_config=vision,
    )


def _section(cls, raw: dict, where: str):
    values = {f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None}
    for name, value in values.items():
        values[name] = value = tuple(value) if isinstance(value, list) else value
        if not _like(value, getattr(cls, name), 1):
            raise InputError(f"{where}.{name} is {value!r}, but must be like {getattr(cls, name)!r}")
    return cls(**values)


def _like(value, default, least: int) -> bool:
    """Whether a value is of its default's type: a flag, a number of at least `least`, or a tuple of numbers."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_like(v, 0, 0) for v in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and value > 0
    return isinstance(value, int) and value >= least


def _require(ok: bool, where: str, field: str, got, want) -> None:
    if not ok:
        raise InputError(f"{where}: {field} is {got!r}, but only {want!r} is supported")
