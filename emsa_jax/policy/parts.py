"""Parts of a policy out of pretrained directories: text models, audio towers, vision towers.

A part is read into its place in the policy's parameter tree, under the names and in the layout of the parameter table,
so that the policy computes with it as with Omni's own. What a part lacks (the projection of its tokens to the width of
the text model) is drawn at random and has to be trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from emsa_jax.data.mel import MEL_BINS
from emsa_jax.errors import InputError
from emsa_jax.policy import hf
from emsa_jax.policy.audio import sinusoids
from emsa_jax.policy.encoder_tables import bert_table, clip_text_table, hubert_table
from emsa_jax.policy.hf_config import (
    CLIP,
    OWN,
    THINKER,
    audio_config,
    bert_config,
    check_bridges,
    clip_text_config,
    fits_thinker,
    hubert_config,
    read_json_config,
    tower_widths,
    vision_config,
)
from emsa_jax.policy.parameter_table import ParamSpec, audio_table, init_table, vision_table
from emsa_jax.policy.tensor_files import open_tensors, tensor_files
from emsa_jax.policy.thinker_config import (
    AudioConfig,
    BertConfig,
    ClipConfig,
    ClipTextConfig,
    HubertConfig,
    ThinkerConfig,
    VisionConfig,
)

POLICIES = (*THINKER, OWN)
QWEN_VL = "qwen2_5_vl"
WHISPER_BINS = (80, 128)


def read_text_model(directory: str | Path, dtype: DTypeLike | None = None) -> tuple[ThinkerConfig, dict]:
    """The text model of a directory (Qwen2, Llama, Qwen3, or a policy's) as a policy that neither hears nor sees.

    Returns:
      (config without towers, {"text": parameters}). Ids of media tokens are -1 unless the directory is a policy's.
    Raises: InputError naming the file and the field or the tensor.
    """
    config, params = hf.load(directory, dtype, parts=("text",))
    return replace(config, audio=None, vision=None, audio_bridge=None, vision_bridge=None), params


def with_qkv_biases(config: ThinkerConfig, params: dict) -> tuple[ThinkerConfig, dict]:
    """The same policy with biases of queries, keys and values that are zero, as Omni's Thinker wants them."""
    if config.text.qkv_bias:
        return config, params
    layers = dict(params["text"]["layers"])
    for name in ("q_proj", "k_proj", "v_proj"):
        weight = layers[name]["weight"]
        layers[name] = dict(layers[name], bias=jnp.zeros(weight.shape[:2], weight.dtype))
    return replace(config, text=replace(config.text, qkv_bias=True)), dict(
        params, text=dict(params["text"], layers=layers)
    )


def join_parts(
    text: tuple[ThinkerConfig, dict],
    audio: tuple[AudioConfig, dict] | None = None,
    vision: tuple[VisionConfig | ClipConfig, dict] | None = None,
    **tokens: Any,
) -> tuple[ThinkerConfig, dict]:
    """One policy of parts, each (config, parameters) as the readers here give it.

    Biases of zero are added to a text model that has none where that makes the policy a Thinker, which `transformers`
    loads; a text model with normalised queries and keys, or one without a tower, has our own layout.

    tokens: ids of media tokens and other fields of `ThinkerConfig`, such as the bridges behind the towers.
    Raises: InputError where a tower is not as wide as the text model, or a bridge does not fit its tower.
    """
    config, params = replace(text[0], **tokens), dict(text[1])
    towers = {name: part for name, part in (("audio", audio), ("vision", vision)) if part}
    config = replace(config, **{name: part[0] for name, part in towers.items()})
    for field, width in tower_widths(config).items():
        if width != config.text.hidden_size:
            raise InputError(f"{field} is {width}, but the text model is {config.text.hidden_size} wide")
    check_bridges(config, "assemble")
    config, params = with_qkv_biases(config, params) if fits_thinker(config, biases=True) else (config, params)
    return config, params | {name: part[1] for name, part in towers.items()}


def read_audio_tower(
    directory: str | Path,
    width: int,
    key: jax.Array,
    n_window: int = 0,
    bins: int = MEL_BINS,
    dtype: DTypeLike | None = None,
) -> tuple[AudioConfig, dict]:
    """An audio tower: a policy's, or Whisper's encoder, which is Omni's tower tensor for tensor.

    Args:
      directory: of a policy, or of Whisper (`WhisperModel` or `WhisperForConditionalGeneration`).
      width: of the text model. The projection is drawn from `key` where the directory has none of this width.
      n_window: half the mel frames of a chunk, inside which attention stays (default: the policy's, for Whisper its
        30 s).
      bins: mel bins; 80 of Whisper's become 128 (see `mel_map`).

    Returns:
      (config, the "audio" subtree). Raises: InputError naming the file and the field or the tensor.
    """
    raw = read_json_config(directory)
    kind = raw.get("model_type")
    if kind == "whisper":
        config, params = _whisper(Path(directory), bins, dtype)
    elif kind in POLICIES:
        whole, params = hf.load(directory, dtype, parts=("audio",))
        config, params = whole.audio, params.get("audio")
    else:
        raise _unknown(directory, kind, "audio towers", ("whisper", *POLICIES))
    if config is None:
        raise InputError(f"{directory}: this policy has no audio tower")
    fits = config.output_dim == width and "proj" in params
    config = replace(config, output_dim=width, n_window=n_window or config.n_window)
    fresh = init_table(() if fits else _named(audio_table(config), "proj", "bos_eos"), key, _dtype(params))
    return config, params | fresh.get("audio", {})


def read_vision_tower(
    directory: str | Path, width: int, key: jax.Array, tokens: str = "cls", dtype: DTypeLike | None = None
) -> tuple[VisionConfig | ClipConfig, dict]:
    """A vision tower: a policy's, Qwen2.5-VL's, which is Omni's, or CLIP's.

    Args:
      directory: of a policy, of Qwen2.5-VL or of CLIP (`CLIPModel` or `CLIPVisionModel`).
      width: of the text model. The last linear is drawn from `key` where the directory has none of this width.
      tokens: of CLIP: "cls" (one token a frame) or "patches".

    Returns:
      (config, the "vision" subtree). Raises: InputError naming the file and the field or the tensor.
    """
    raw = read_json_config(directory)
    kind = raw.get("model_type")
    if kind in ("clip", CLIP):
        config, params = _clip(Path(directory), tokens, dtype)
    elif kind == QWEN_VL:
        config, params = _qwen_vl(Path(directory), raw, dtype)
    elif kind in POLICIES:
        whole, params = hf.load(directory, dtype, parts=("vision",))
        config, params = whole.vision, params.get("vision")
    else:
        raise _unknown(directory, kind, "vision towers", ("clip", CLIP, QWEN_VL, *POLICIES))
    if config is None:
        raise InputError(f"{directory}: this policy has no vision tower")
    last = "proj" if isinstance(config, ClipConfig) else "merger_out"
    fits = config.out_hidden_size == width and last in params
    config = replace(config, out_hidden_size=width)
    fresh = init_table(() if fits else _named(vision_table(config), last), key, _dtype(params))
    return config, params | fresh.get("vision", {})


def clip_config_of(directory: str | Path, tokens: str = "cls") -> ClipConfig:
    """The configuration of CLIP's vision transformer in a directory of it, or of a whole CLIP.

    Raises: InputError naming the file and the field.
    """
    raw, where = read_json_config(directory), str(Path(directory) / "config.json")
    if raw.get("model_type") not in ("clip", CLIP):
        raise _unknown(directory, raw.get("model_type"), "CLIP's frames", ("clip", CLIP))
    own = raw.get("vision_config") if raw["model_type"] == "clip" else raw
    if not isinstance(own, dict):
        raise InputError(f"{where}: vision_config is missing; not a CLIP configuration")
    return vision_config(own | {"model_type": CLIP, "tokens": tokens, "out_hidden_size": None}, where)


def _clip(directory: Path, tokens: str, dtype: DTypeLike | None) -> tuple[ClipConfig, dict]:
    config = clip_config_of(directory, tokens)
    prefix = _prefix(tensor_files(directory), ("vision_model.", ""), "embeddings.class_embedding")
    table = [
        replace(spec, disk=spec.disk.replace("visual.", prefix))
        for spec in vision_table(config)
        if spec.path[1] != "proj"
    ]
    params = hf.load_table(directory, table, dtype, lambda name: not name.startswith(f"{prefix}encoder.layers."))
    return config, params["vision"]


def _qwen_vl(directory: Path, raw: dict, dtype: DTypeLike | None) -> tuple[VisionConfig, dict]:
    """Omni's tower, whose q, k and v lie in one matrix there."""
    where = str(directory / "config.json")
    if not isinstance(raw.get("vision_config"), dict):
        raise InputError(f"{where}: vision_config is missing; not a Qwen2.5-VL configuration")
    config = vision_config(raw["vision_config"], where, "vision_config.")
    prefix = _prefix(tensor_files(directory), ("visual.", "model.visual."), "patch_embed.proj.weight")
    table = []
    for spec in vision_table(config):
        name = spec.path[-2]
        if name in ("k", "v"):
            continue
        if name == "q":
            path, shape = (*spec.path[:-2], "qkv", spec.path[-1]), (3 * spec.shape[0], *spec.shape[1:])
            spec = replace(spec, path=path, shape=shape, disk=spec.disk.replace(".q.", ".qkv."))
        table.append(replace(spec, disk=spec.disk.replace("visual.", prefix, 1)))
    params = hf.load_table(directory, table, dtype, lambda name: not name.startswith(f"{prefix}blocks."))["vision"]
    layers = dict(params["layers"])
    parts = jax.tree.map(lambda stack: jnp.split(stack, 3, axis=1), layers.pop("qkv"))
    split = {name: {kind: three[i] for kind, three in parts.items()} for i, name in enumerate("qkv")}
    return config, dict(params, layers=layers | split)


def read_clip_text(directory: str | Path, dtype: DTypeLike | None = None) -> tuple[ClipTextConfig, dict]:
    """The text encoder of a `CLIPModel` directory. Raises: InputError naming the file and the field or the tensor."""
    raw, directory = read_json_config(directory), Path(directory)
    if raw.get("model_type") != "clip":
        raise _unknown(directory, raw.get("model_type"), "CLIP's text encoders", ("clip",))
    config = clip_text_config(raw, str(directory / "config.json"))
    table = list(clip_text_table(config))
    params = hf.load_table(directory, table, dtype, lambda name: not name.startswith("text_model.encoder.layers."))
    return config, params["clip_text"]


def read_bert(directory: str | Path, dtype: DTypeLike | None = None) -> tuple[BertConfig, dict]:
    """The encoder of a BERT directory, alone or under a head; the pooler is not read.

    Returns:
      (config, parameters of `bert_table`). Raises: InputError naming the file and the field or the tensor.
    """
    raw, directory = read_json_config(directory), Path(directory)
    if raw.get("model_type") != "bert":
        raise _unknown(directory, raw.get("model_type"), "text encoders", ("bert",))
    config, files = bert_config(raw, str(directory / "config.json")), tensor_files(directory)
    prefix = _prefix(files, ("", "bert."), "embeddings.word_embeddings.weight")
    old = f"{prefix}embeddings.LayerNorm.gamma" in files  # of norms, as the first released files have them
    renamed = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"} if old else {}
    table = []
    for spec in bert_table(config):
        disk = prefix + spec.disk
        for name, was in renamed.items():
            disk = disk.replace(name, was)
        table.append(replace(spec, disk=disk))
    return config, hf.load_table(directory, table, dtype, lambda name: f"{prefix}encoder.layer." not in name)["bert"]


def hubert_config_of(directory: str | Path) -> HubertConfig:
    """The configuration of a HuBERT directory. Raises: InputError naming the file and the field."""
    raw = read_json_config(directory)
    if raw.get("model_type") != "hubert":
        raise _unknown(directory, raw.get("model_type"), "speech encoders", ("hubert",))
    return hubert_config(raw, str(Path(directory) / "config.json"))


def read_hubert(directory: str | Path, dtype: DTypeLike | None = None) -> tuple[HubertConfig, dict]:
    """The encoder of a HuBERT directory, alone or under a head, with new or old names of its weight norm.

    Returns:
      (config, parameters of `hubert_table`). Raises: InputError naming the file and the field or the tensor.
    """
    config, directory = hubert_config_of(directory), Path(directory)
    files = tensor_files(directory)
    prefix = _prefix(files, ("", "hubert."), "feature_projection.projection.weight")
    new, old = (
        f"{prefix}encoder.pos_conv_embed.conv.{name}" for name in ("parametrizations.weight.original", "weight_")
    )
    renamed = {f"{new}0": f"{old}g", f"{new}1": f"{old}v"} if f"{old}g" in files else {}
    table = [replace(spec, disk=prefix + spec.disk) for spec in hubert_table(config)]
    table = [replace(spec, disk=renamed.get(spec.disk, spec.disk)) for spec in table]
    ours = tuple(prefix + part for part in ("encoder.", "feature_extractor.", "feature_projection."))
    return config, hf.load_table(directory, table, dtype, lambda name: not name.startswith(ours))["hubert"]


def mel_map(bins: int, wanted: int = MEL_BINS) -> np.ndarray:
    """Linear interpolation [bins, wanted] on the mel axis: row i reads a value at the centre of the i-th of `bins`
    bands out of the centres of `wanted` bands, both evenly spaced on the mel scale from 0 to 8 kHz.

    Raises: InputError where more bands are asked for than there are.
    """
    if bins > wanted:
        raise InputError(f"num_mel_bins is {bins}, but only up to {wanted} mel bins can be read out of {wanted}")
    centres, asked = np.arange(1, wanted + 1) / (wanted + 1), np.arange(1, bins + 1) / (bins + 1)
    return np.stack([np.interp(asked, centres, row) for row in np.eye(wanted)], axis=1).astype(np.float32)


def whisper_config_of(directory: str | Path) -> AudioConfig:
    """The configuration of Whisper's encoder. Raises: InputError naming the file and the field."""
    raw = read_json_config(directory)
    own = {k: v for k, v in raw.items() if k not in ("output_dim", "n_window")}
    return audio_config(own, str(Path(directory) / "config.json"))


def _whisper(directory: Path, bins: int, dtype: DTypeLike | None) -> tuple[AudioConfig, dict]:
    """The encoder under Omni's names: `layer_norm` is `ln_post`, and the positions are computed."""
    own, where = whisper_config_of(directory), str(directory / "config.json")
    if own.num_mel_bins not in WHISPER_BINS:
        raise InputError(f"{where}: num_mel_bins is {own.num_mel_bins}, but only 80 and 128 can be mapped to {bins}")
    files = tensor_files(directory)
    prefix = _prefix(files, ("encoder.", "model.encoder.", ""), "conv1.weight")
    own = replace(own, n_window=own.max_source_positions)
    table = [
        replace(spec, disk=spec.disk.replace("audio_tower.", prefix).replace("ln_post", "layer_norm"))
        for spec in audio_table(own)
        if spec.path[1] not in ("proj", "bos_eos")
    ]
    params = hf.load_table(directory, table, dtype, lambda name: not name.startswith(f"{prefix}layers."))["audio"]
    _require_sinusoids(files, f"{prefix}embed_positions.weight", own)
    if own.num_mel_bins != bins:
        conv1 = params["conv1"]
        weight = np.einsum("oik,in->onk", np.asarray(conv1["weight"], np.float32), mel_map(own.num_mel_bins, bins))
        params["conv1"] = dict(conv1, weight=jnp.asarray(weight, conv1["weight"].dtype))
    return replace(own, num_mel_bins=bins), params


def _require_sinusoids(files: dict[str, Path], name: str, config: AudioConfig) -> None:
    """Whisper keeps its fixed positions on disk. Raises: InputError where they are other ones."""
    if name not in files:
        return
    with open_tensors(files[name]) as file:
        stored = file.get_tensor(name).astype(np.float32)
    table = sinusoids(config.max_source_positions, config.d_model)
    if stored.shape != table.shape or not np.abs(stored - table).max() <= 1e-2:
        raise InputError(f"{files[name]}: {name} are not Whisper's sinusoids: this is another encoder")


def _prefix(files: dict[str, Path], known: Sequence[str], name: str) -> str:
    """What stands before the names of a part: the first of `known` under which there is a tensor `name`."""
    return next((prefix for prefix in known if prefix + name in files), known[0])


def _named(table: Sequence[ParamSpec], *names: str) -> list[ParamSpec]:
    return [spec for spec in table if spec.path[1] in names]


def _dtype(params: dict) -> np.dtype:
    return jax.tree.leaves(params)[0].dtype


def _unknown(directory: str | Path, kind: str | None, what: str, known: Sequence[str]) -> InputError:
    return InputError(f"{directory}/config.json: model_type is {kind!r}, but {what} are read from {', '.join(known)}")
