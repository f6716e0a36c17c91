"""A policy's configuration, read from and written as config.json, in three layouts.

Qwen2.5-Omni's Thinker, as `transformers` has it; a text model alone (Qwen2, Llama, Qwen3), as `transformers` has it;
and, for parts that fit neither, a layout of our own (docs/parts.md). What a file asks for and the policy does not
compute (another activation, sliding windows, scaled rotary embeddings) is an error, never ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TypeVar

from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object
from emsa_jax.policy.stop_ids import GENERATION_CONFIG, with_stop_ids
from emsa_jax.policy.thinker_config import (
    AudioConfig,
    BertConfig,
    BridgeConfig,
    ClipConfig,
    ClipTextConfig,
    HubertConfig,
    TextConfig,
    ThinkerConfig,
    VisionConfig,
)

Section = TypeVar("Section")
OWN = "emsa_policy"
THINKER = ("qwen2_5_omni_thinker", "qwen2_5_omni")
FAMILIES = {"qwen2": (True, False), "llama": (False, False), "qwen3": (False, True)}  # qkv_bias, qk_norm
_CLASSES = {"qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}
CLIP, CLIP_TOKENS = "clip_vision_model", ("cls", "patches")
# of `transformers`' class, which leaves them out of a file
CLIP_DEFAULTS = dict(
    hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, patch_size=32
)
BERT_MAY_BE_ZERO = ("pad_token_id", "hidden_dropout_prob", "attention_probs_dropout_prob")
_PARTS = ("text", "audio", "vision")
_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
# the largest values that are taken: far above any policy, far below what would fill the memory with names and tables
_ANY_SIZE = 2**30
_LARGEST = dict.fromkeys(("num_hidden_layers", "encoder_layers", "depth"), 1000)
_LARGEST |= dict.fromkeys(("num_attention_heads", "num_key_value_heads", "encoder_attention_heads", "num_heads"), 10**4)
_LARGEST |= dict.fromkeys(
    ("patch_size", "temporal_patch_size", "spatial_merge_size", "num_channels", "in_channels"), 256
)
_LARGEST |= dict.fromkeys(("n_window", "window_size", "image_size", "num_mel_bins", "max_source_positions"), 10**5)
_LARGEST |= {"rope_theta": 1e15, "rms_norm_eps": 0.1, "layer_norm_eps": 0.1}
_LARGEST |= dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.99)
_LARGEST |= {"position_id_per_seconds": 10**5, "seconds_per_chunk": 10**5}
_LARGEST |= dict.fromkeys(("conv_kernel", "conv_stride"), 1000)
_LEAST = {"rope_theta": 1}
_MOST_ITEMS, _LONGEST_SHOWN = 1000, 80  # of a list; characters of a value in an error
_BRIDGES = ("audio_bridge", "vision_bridge")
_ELSEWHERE = (*_PARTS, *_BRIDGES, "other_stop_ids")  # fields that stand in no place of their own
# of a bridge in a policy; the others are of its training
_OF_BRIDGE = (*_SIZES[1:3], "num_attention_heads", "num_hidden_layers", "layer_norm_eps", "positions")
_EXPORTS = ("export/merged", "merged")  # below a workdir, and below its export/
_TOKEN_KEYS = {
    "audio_token_id": "audio_token_index",
    "image_token_id": "image_token_index",
    "video_token_id": "video_token_index",
}


def read_config(directory: str | Path) -> ThinkerConfig:
    """Reads `config.json` of a policy directory: a Thinker (alone or in a full Qwen2.5-Omni directory, in the old or
    the new spelling), a text model alone, or our own layout.

    Raises: InputError naming the file and the field.
    """
    path = Path(directory) / "config.json"
    if inside := _policy_inside(Path(directory)):
        raise InputError(f"{directory} is no policy directory, but that of a run; its policy is {inside}")
    raw = read_json_config(directory)
    config = with_stop_ids(from_hf(raw, str(path)), raw, directory)
    if config.eos_token_id < 0:
        raise InputError(
            f"{path}: eos_token_id is missing, and {GENERATION_CONFIG} names none either; write the id of the token "
            "that ends an answer"
        )
    return replace(config, pad_token_id=config.pad_token_id if config.pad_token_id >= 0 else config.eos_token_id)


def _policy_inside(directory: Path) -> Path | None:
    """The exported policy below a run's workdir, or below its export/, that somebody named in its place."""
    if (directory / "config.json").exists() and not (directory / "versions.json").exists():
        return None
    return next((path for name in _EXPORTS if ((path := directory / name) / "config.json").exists()), None)


def read_json_config(directory: str | Path) -> dict:
    """`config.json` of a directory as it is. Raises: InputError naming the file, and for quantized weights."""
    path = Path(directory) / "config.json"
    raw = read_object(path)
    if raw is None:
        raise InputError(f"{path}: cannot be read (no such file); a policy directory needs config.json")
    for section in _objects(raw):
        if found := section.get("quantization_config") or section.get("compression_config"):
            method = found.get("quant_method", "quantized") if isinstance(found, dict) else found
            raise InputError(
                f"{path}: quantization_config says that the weights are quantized ({method}), and only float32, "
                "float16 and bfloat16 are read; take the model as it was before"
            )
    return raw


def _objects(raw: dict) -> Iterator[dict]:
    """An object and those inside of it."""
    yield raw
    for part in raw.values():
        if isinstance(part, dict):
            yield from _objects(part)


def from_hf(raw: dict, where: str = "config.json") -> ThinkerConfig:
    """The configuration that a Hugging Face dict describes; see `read_config`."""
    raw = raw.get("thinker_config", raw)
    if not isinstance(raw, dict):
        raise InputError(f"{where}: thinker_config is not an object; not a Qwen2.5-Omni Thinker configuration")
    kind = raw.get("model_type", THINKER[0])
    _require(isinstance(kind, str), where, "model_type", kind, "a name")
    if kind in FAMILIES:
        text = text_config(raw, where, kind)
        media = ("audio_", "image_", "video_", "vision_")
        ids = (f.name for f in fields(ThinkerConfig) if f.name.startswith(media) and f.name not in _BRIDGES)
        media = dict.fromkeys(ids, -1)
        return ThinkerConfig(**(media | {"text": text, "audio": None, "vision": None} | _text_tokens(raw, where, text)))
    if kind not in (*THINKER, OWN):
        raise InputError(
            f"{where}: model_type is {_shown(kind)}, but a policy is one of {', '.join((*THINKER, OWN, *FAMILIES))}"
        )
    for part in _PARTS:
        absent = kind == OWN and part != "text" and raw.get(f"{part}_config") is None
        if not absent and not isinstance(raw.get(f"{part}_config"), dict):
            raise InputError(f"{where}: {part}_config is missing; not a Qwen2.5-Omni Thinker configuration")
    text, audio, vision = (raw.get(f"{part}_config") for part in _PARTS)
    sized = text_config(text, where, text.get("model_type") if kind == OWN else "qwen2", "text_config.")
    config = ThinkerConfig(
        text=sized,
        audio=None if audio is None else audio_config(audio, where, "audio_config."),
        vision=None if vision is None else vision_config(vision, where, "vision_config."),
        **{name: bridge_config(raw, where, name) for name in _BRIDGES if kind == OWN and raw.get(f"{name}_config")},
        **_released_ids(sized) | _tokens(raw, where, sized),
    )
    for field, width in tower_widths(config).items():
        _require(width == config.text.hidden_size, where, field, width, config.text.hidden_size)
    check_bridges(config, where)
    return config


def check_bridges(config: ThinkerConfig, where: str) -> None:
    """Raises InputError for a bridge that does not fit its tower. where: of the message."""
    if config.audio_bridge:
        at, bridge, width = "audio_bridge_config", config.audio_bridge, config.audio.d_model if config.audio else 0
        _require(width > 0, where, at, "given", "one behind an audio tower")
        _require(bridge.hidden_size == width, where, f"{at}.hidden_size", bridge.hidden_size, width)
        _require(not bridge.positions, where, f"{at}.positions", bridge.positions, 0)
    if config.vision_bridge:
        at, bridge, tower = "vision_bridge_config", config.vision_bridge, config.vision
        sees = isinstance(tower, ClipConfig) and tower.tokens == "cls"
        _require(sees, where, at, "given", "one behind class tokens of CLIP's frames")
        _require(bridge.hidden_size == tower.hidden_size, where, f"{at}.hidden_size", bridge.hidden_size,
                 tower.hidden_size)  # fmt: skip
        _require(bridge.positions > 0, where, f"{at}.positions", bridge.positions, "at least 1")


def bridge_config(raw: dict, where: str, name: str) -> BridgeConfig:
    """A bridge from its part of a file, "audio_bridge_config" or "vision_bridge_config" for its name.

    Raises: InputError naming the field."""
    at, given = f"{name}_config.", raw[f"{name}_config"]
    _require(isinstance(given, dict), where, at[:-1], given, "an object")
    counted = {field: value for field, value in given.items() if field in _OF_BRIDGE and value != 0}
    config = _section(BridgeConfig, {"positions": None} | counted, where, at)
    _require_heads(config.hidden_size, config.num_attention_heads, 1, where, f"{at}hidden_size")
    return config if given.get("positions", 1) else replace(config, positions=0)


def tower_widths(config: ThinkerConfig) -> dict[str, int]:
    """Widths of what the towers give, each of which has to be the text model's hidden_size: field -> width."""
    found = {}
    if config.audio:
        found["audio_config.output_dim"] = config.audio.output_dim
    if config.vision:
        found["vision_config.out_hidden_size"] = config.vision.out_hidden_size
    return found


def text_config(raw: dict, where: str, family: str, at: str = "") -> TextConfig:
    """A text model from its part of a Hugging Face dict. at: where that part stands in the file.

    family: one of `FAMILIES`. Raises: InputError naming the field.
    """
    _require(isinstance(family, str) and family in FAMILIES, where, f"{at}model_type", family, " or ".join(FAMILIES))
    text, bias_and_norm = dict(raw), dict(zip(("qkv_bias", "qk_norm"), FAMILIES[family], strict=True))
    rope = _rope(text, where, at)
    _require(text.get("hidden_act", "silu") == "silu", where, f"{at}hidden_act", text.get("hidden_act"), "silu")
    for field in ("use_sliding_window", "attention_bias", "mlp_bias", "rope_interleaved"):
        _require(not text.get(field), where, f"{at}{field}", text.get(field), False)
    layers = text.get("layer_types") or []
    full = isinstance(layers, list) and all(layer == "full_attention" for layer in layers)
    _require(full, where, f"{at}layer_types", layers, "full_attention")
    if not at:  # a text model alone, whose class has other defaults
        for field in _SIZES:
            _require(text.get(field) is not None, where, field, None, "a number")
        text = {"num_key_value_heads": text["num_attention_heads"], "rope_theta": 1e4} | text
        text.setdefault("head_dim", 128 if family == "qwen3" else None)
    text |= bias_and_norm | {"attention": None, "mrope_section": rope.get("mrope_section")}
    text["rope_theta"] = rope.get("rope_theta") or text.get("rope_theta")
    if not at:
        sized = _section(TextConfig, text, where, at)
        text["mrope_section"] = list(mrope_section(sized.head_dim))
    config = _section(TextConfig, text, where, at)
    rest = config.num_attention_heads % config.num_key_value_heads
    _require(not rest, where, f"{at}num_key_value_heads", config.num_key_value_heads, "a part of num_attention_heads")
    ok = 2 * sum(config.mrope_section) == config.head_dim and len(config.mrope_section) == 3
    want = f"three numbers whose sum is half of head_dim, {config.head_dim}"
    _require(ok, where, f"{at}rope_scaling.mrope_section", config.mrope_section, want)
    return config


def _rope(text: dict, where: str, at: str) -> dict:
    """What a text model's part says of rotary embeddings, in the new or the old spelling; a file may have both."""
    found = {}
    for name in ("rope_parameters", "rope_scaling"):
        rope = text.get(name) or {}
        _require(isinstance(rope, dict), where, f"{at}{name}", rope, "an object")
        kind = rope.get("rope_type", rope.get("type", "default"))
        _require(kind in ("default", "mrope"), where, f"{at}{name}.type", kind, "default")
        for field, value in rope.items():
            _require(not isinstance(value, dict), where, f"{at}{name}.{field}", value, "one value for all layers")
        other = {field for field in found.keys() & rope.keys() if field != "type" and found[field] != rope[field]}
        _require(not other, where, f"{at}{name}", rope, found)
        found |= rope
    return found


def mrope_section(head_dim: int) -> tuple[int, int, int]:
    """How many frequencies follow time, height and width, in the proportions of the released sizes (16, 24, 24)."""
    space = 3 * head_dim // 16
    return (head_dim // 2 - 2 * space, space, space)


def audio_config(raw: dict, where: str, at: str = "") -> AudioConfig:
    """Omni's or Whisper's encoder, whose fields have the same names. Raises: InputError naming the field."""
    act = raw.get("activation_function", "gelu")
    _require(act == "gelu", where, f"{at}activation_function", act, "gelu")
    config = _section(AudioConfig, raw, where, at)
    _require_heads(config.d_model, config.encoder_attention_heads, 1, where, f"{at}d_model")
    _require(config.d_model > 2 and config.d_model % 2 == 0, where, f"{at}d_model", config.d_model, "an even number")
    return config


def vision_config(raw: dict, where: str, at: str = "") -> VisionConfig | ClipConfig:
    """Omni's (and Qwen2.5-VL's) vision tower, or CLIP's. Raises: InputError naming the field."""
    if raw.get("model_type") == CLIP:
        return _clip_config(raw, where, at)
    vision, rope = dict(raw), raw.get("rope_parameters") or {}
    _require(isinstance(rope, dict), where, f"{at}rope_parameters", rope, "an object")
    _require(vision.get("hidden_act", "silu") == "silu", where, f"{at}hidden_act", vision.get("hidden_act"), "silu")
    vision["rope_theta"] = rope.get("rope_theta")
    vision["hidden_size"] = vision.get("hidden_size", 3584)  # the class default, not the checkpoints' 1280
    config = _section(VisionConfig, vision, where, at)
    _require_heads(config.hidden_size, config.num_heads, 4, where, f"{at}hidden_size")
    least = config.patch_size * config.spatial_merge_size
    _require(config.window_size >= least, where, f"{at}window_size", config.window_size, f"at least {least}, a token")
    return config


def _clip_config(raw: dict, where: str, at: str) -> ClipConfig:
    act = raw.get("hidden_act", "quick_gelu")
    _require(act == "quick_gelu", where, f"{at}hidden_act", act, "quick_gelu")
    config = _section(ClipConfig, CLIP_DEFAULTS | raw, where, at)
    _require(config.tokens in CLIP_TOKENS, where, f"{at}tokens", config.tokens, " or ".join(CLIP_TOKENS))
    for field, of in (("image_size", "patch_size"), ("hidden_size", "num_attention_heads")):
        size, part = getattr(config, field), getattr(config, of)
        _require(size % part == 0, where, f"{at}{field}", size, f"a multiple of {of}, {part}")
    return config


def clip_text_config(raw: dict, where: str) -> ClipTextConfig:
    """CLIP's text encoder, from the configuration of a whole `CLIPModel`. Raises: InputError naming the field."""
    text = raw.get("text_config") or {}
    _require(isinstance(text, dict), where, "text_config", text, "an object")
    act = text.get("hidden_act", "quick_gelu")
    _require(act == "quick_gelu", where, "text_config.hidden_act", act, "quick_gelu")
    width = {"projection_dim": raw.get("projection_dim", ClipTextConfig.projection_dim)}
    config = _section(ClipTextConfig, text | width, where, "text_config.")
    _require_heads(config.hidden_size, config.num_attention_heads, 1, where, "text_config.hidden_size")
    end = config.eos_token_id  # whose state is taken
    _require(end < config.vocab_size, where, "text_config.eos_token_id", end, "an id of a token")
    return config


def bert_config(raw: dict, where: str) -> BertConfig:
    """A text encoder of the BERT kind. Raises: InputError naming the field."""
    for field, only in (("hidden_act", "gelu"), ("position_embedding_type", "absolute"), ("is_decoder", False)):
        _require(raw.get(field, only) == only, where, field, raw.get(field), only)
    zeros = {
        f.name: type(f.default)(0) for f in fields(BertConfig) if f.name in BERT_MAY_BE_ZERO and raw.get(f.name) == 0
    }
    config = replace(_section(BertConfig, {k: v for k, v in raw.items() if k not in zeros}, where, ""), **zeros)
    _require_heads(config.hidden_size, config.num_attention_heads, 1, where, "hidden_size")
    _require(config.pad_token_id < config.vocab_size, where, "pad_token_id", config.pad_token_id, "an id of a token")
    return config


def hubert_config(raw: dict, where: str) -> HubertConfig:
    """A speech encoder of the HuBERT kind. Raises: InputError naming the field."""
    only = dict(hidden_act="gelu", feat_extract_activation="gelu", feat_proj_layer_norm=True, conv_pos_batch_norm=False)
    for field, value in only.items():
        _require(raw.get(field, value) == value, where, field, raw.get(field), value)
    config = _section(HubertConfig, raw, where, "")
    _require_heads(config.hidden_size, config.num_attention_heads, 1, where, "hidden_size")
    norm = config.feat_extract_norm
    _require(norm in ("group", "layer"), where, "feat_extract_norm", norm, "group or layer")
    sizes = {len(config.conv_dim), len(config.conv_kernel), len(config.conv_stride)}
    least = min((*config.conv_dim, *config.conv_kernel, *config.conv_stride), default=0)
    sized = len(sizes) == 1 and least > 0
    _require(sized, where, "conv_dim", config.conv_dim, "a size for each of conv_kernel and conv_stride")
    groups = config.num_conv_pos_embedding_groups
    _require(config.hidden_size % groups == 0, where, "num_conv_pos_embedding_groups", groups, "a part of hidden_size")
    even = config.num_conv_pos_embeddings
    _require(even % 2 == 0, where, "num_conv_pos_embeddings", even, "an even number")
    return config


def _tokens(raw: dict, where: str, text: TextConfig) -> dict:
    """Ids of tokens, each below the vocabulary's size, and what else stands at the top of the file."""
    top = {
        f.name: raw[k]
        for f in fields(ThinkerConfig)
        if f.name not in _ELSEWHERE
        for k in (_TOKEN_KEYS.get(f.name, f.name), f.name)
        if raw.get(k) is not None
    }
    if top.get("eos_token_id") and isinstance(top["eos_token_id"], list):
        top["eos_token_id"] = top["eos_token_id"][0]
    for name, value in top.items():
        token = name.endswith("_id")
        _require(
            _like(value, getattr(ThinkerConfig, name), -1 if token else 1), where, name, value, "a value of its type"
        )
        most = text.vocab_size - 1 if token else _LARGEST.get(name, _ANY_SIZE)
        _require(value <= most, where, name, value, f"at most {most}")
    return top


def _released_ids(text: TextConfig) -> dict[str, int]:
    """-1 for the ids of the released sizes that a vocabulary does not have: a file that names no others has none."""
    ids = {f.name: f.default for f in fields(ThinkerConfig) if f.name.endswith("_token_id")}
    return {name: -1 for name, id in ids.items() if id >= text.vocab_size}


def _text_tokens(raw: dict, where: str, text: TextConfig) -> dict:
    """The same for a text model alone, whose padding token may be its end token."""
    top = {"tie_word_embeddings": False} | _tokens(raw, where, text)
    _require("eos_token_id" in top, where, "eos_token_id", None, "a token")
    return {name: top["eos_token_id"] for name in ("bos_token_id", "pad_token_id", "user_token_id")} | top


def fits_thinker(config: ThinkerConfig, biases: bool = False) -> bool:
    """Whether the parts are those that Omni's Thinker has, so that `transformers` loads them as one; with `biases`,
    whether they would be once the text model has biases."""
    text = config.text
    has = (text.qkv_bias or biases) and not text.qk_norm
    return has and not config.bridged and config.audio is not None and isinstance(config.vision, VisionConfig)


def family_of(config: TextConfig) -> str:
    """The kind of a text model, as `transformers` names it."""
    return next(name for name, kind in FAMILIES.items() if kind == (config.qkv_bias, config.qk_norm))


def to_hf(config: ThinkerConfig, dtype: str = "float32") -> dict:
    """The config.json, in the first layout that fits: Thinker (released spelling, which old and new `transformers`
    read), a text model alone, our own."""
    types = {"dtype": dtype, "torch_dtype": dtype}
    top = {
        _TOKEN_KEYS.get(f.name, f.name): getattr(config, f.name)
        for f in fields(ThinkerConfig)
        if f.name not in _ELSEWHERE
    }
    if config.text_alone:
        family = family_of(config.text)
        named = {n: top[n] for n in ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings")}
        text = _text_to_hf(config, family)
        text.pop("rope_scaling")
        return text | named | types | {"architectures": [_CLASSES[family]], "model_type": family}
    thinker = fits_thinker(config)
    text = _text_to_hf(config, "qwen2_5_omni_text" if thinker else family_of(config.text))
    parts = {"text_config": text}
    if config.audio:
        parts["audio_config"] = dict(
            asdict(config.audio), model_type="qwen2_5_omni_audio_encoder", activation_function="gelu"
        )
    if config.vision:
        parts["vision_config"] = _vision_to_hf(config.vision)
    bridges = {name: getattr(config, name) for name in _BRIDGES if getattr(config, name)}
    parts |= {f"{name}_config": {f: asdict(bridge)[f] for f in _OF_BRIDGE} for name, bridge in bridges.items()}
    if not thinker:
        return top | types | {"model_type": OWN} | parts
    named = {"architectures": ["Qwen2_5OmniThinkerForConditionalGeneration"], "model_type": THINKER[0]}
    return top | named | types | parts


def _text_to_hf(config: ThinkerConfig, model_type: str) -> dict:
    c = config.text
    text = {k: v for k, v in asdict(c).items() if k not in ("mrope_section", "qkv_bias", "qk_norm", "attention")}
    if c.heads_dim == c.hidden_size:
        text.pop("head_dim")
    rope = {"mrope_section": list(c.mrope_section), "rope_type": "default", "type": "default"}
    named = {"model_type": model_type, "hidden_act": "silu", "tie_word_embeddings": config.tie_word_embeddings}
    return text | named | {"rope_scaling": rope}


def _vision_to_hf(config: VisionConfig | ClipConfig) -> dict:
    vision = asdict(config)
    if isinstance(config, ClipConfig):
        return vision | {"model_type": CLIP, "hidden_act": "quick_gelu"}
    vision.pop("rope_theta")
    vision["fullatt_block_indexes"] = list(config.fullatt_block_indexes)
    return vision | {"model_type": "qwen2_5_omni_vision_encoder", "hidden_act": "silu"}


def _section(cls: type[Section], raw: dict, where: str, at: str) -> Section:
    values = {f.name: raw[f.name] for f in fields(cls) if raw.get(f.name) is not None}
    for name, value in values.items():
        values[name] = value = tuple(value) if isinstance(value, list) else value
        if not _like(value, getattr(cls, name), 1):
            raise InputError(f"{where}: {at}{name} is {_shown(value)}, but must be like {getattr(cls, name)!r}")
        most, least = _LARGEST.get(name, _ANY_SIZE), _LEAST.get(name, -math.inf)
        numbers = value if isinstance(value, tuple) else (value,) if isinstance(value, int | float) else ()
        if len(numbers) > _MOST_ITEMS or any(not least <= number <= most for number in numbers):
            bounds = f"at least {least}" if least > -math.inf and max(numbers) < least else f"at most {most}"
            raise InputError(f"{where}: {at}{name} is {_shown(value)}, but must be {bounds}")
    return cls(**values)


def _require_heads(width: int, heads: int, of: int, where: str, field: str) -> None:
    """of: what the width of a head has to be a multiple of, 4 where both rows and columns rotate pairs."""
    _require(width % (heads * of) == 0, where, field, width, f"a multiple of {of} x {heads}, the number of heads,")


def _like(value: object, default: object, least: int) -> bool:
    """Whether a value is of its default's type: a flag, a number of at least `least`, or a tuple of numbers."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    if isinstance(default, str):
        return isinstance(value, str)
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_like(v, 0, 0) for v in value)
    if isinstance(default, float):
        return isinstance(value, int | float) and 0 < value < math.inf
    return isinstance(value, int) and value >= least


def _require(ok: bool, where: str, field: str, got: object, want: object) -> None:
    if not ok:
        raise InputError(f"{where}: {field} is {_shown(got)}, but only {want!r} is supported")


def _shown(value: object) -> str:
    """A value as an error shows it, which may be as long as its file."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
