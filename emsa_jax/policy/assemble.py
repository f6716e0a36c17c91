"""One policy directory out of pretrained parts: a text model, an audio tower, a vision tower."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.data.mel import MEL_BINS
from emsa_jax.errors import InputError
from emsa_jax.policy import hf
from emsa_jax.policy.bridge_files import FRESH, read_bridge
from emsa_jax.policy.companions import is_paper, lies_in
from emsa_jax.policy.hf_config import fits_thinker, read_json_config
from emsa_jax.policy.media_tokens import MediaTokenizer, with_media_tokens
from emsa_jax.policy.parameter_table import init_table, vision_table
from emsa_jax.policy.parts import POLICIES, join_parts, read_audio_tower, read_text_model, read_vision_tower
from emsa_jax.policy.preprocessor import Preprocessor, read_preprocessor
from emsa_jax.policy.processor_files import preprocessor_settings
from emsa_jax.policy.thinker_config import AudioConfig, BridgeConfig, ThinkerConfig, VisionConfig

WINDOW = 500  # for Whisper, which was trained on 30 s: chunks of 10 s change its states little and cost a third


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a policy is made of: directories in the form of Hugging Face, "" for a tower that it does not get, and the
    choices of `settings.job_options.AssembleOptions`."""

    text: str
    audio: str
    vision: str
    vision_tokens: str
    dtype: str
    n_window: int
    media_tokens: str
    chat_template: str
    seed: int
    audio_bridge: str = ""
    vision_bridge: str = ""


def assemble(parts: Parts, out: str | Path) -> list[str]:
    """Writes a policy directory, all or nothing.

    Its layout is that of Qwen2.5-Omni's Thinker where the parts allow, with a small random vision tower where none is
    given, so that `transformers` loads it; else our own.

    Returns:
      what was chosen, line by line, as SOURCE.md in the directory has it.
    Raises: InputError naming the field, the file or the tensor.
    """
    template = _read_template(parts.chat_template)
    config, params = read_text_model(parts.text, jnp.dtype(parts.dtype))
    tokens = with_media_tokens(parts.text, config.text.vocab_size, parts.media_tokens, template)
    chosen = [_text_line(parts.text, config), f"media tokens: {tokens.choice}"]
    config, params = with_rows(config, params, tokens.rows)
    audio, audio_line = _audio(parts, config, params)
    vision, vision_line = _vision(parts, config, audio is not None and not parts.audio_bridge)
    audio, vision, bridges, lines = _with_bridges(parts, audio, vision, config.text.hidden_size)
    config, params = join_parts((config, params), audio, vision, **tokens.ids, **bridges)
    layout = "Qwen2.5-Omni's Thinker" if fits_thinker(config) else "our own, which transformers does not load"
    chosen += [audio_line, vision_line, *lines, f"layout: {layout}; weights in {parts.dtype}"]
    with tempfile.TemporaryDirectory() as folder:
        omni = parts.vision and isinstance(config.vision, VisionConfig)  # CLIP's statistics are the default ones
        pixels = read_preprocessor(parts.vision, config) if omni else Preprocessor()
        write_companions(Path(folder), config, tokens, pixels)
        chosen += list(_copy_sources(parts, Path(folder)))
        (Path(folder) / "SOURCE.md").write_text("".join(f"- {line}\n" for line in chosen))
        hf.save(out, config, params, source=folder, extra={"stage": "assemble"})
    return chosen


def with_rows(config: ThinkerConfig, params: dict, rows: int) -> tuple[ThinkerConfig, dict]:
    """A text model whose embedding, and head if it has one, has `rows` rows: new ones are the mean of the others."""
    text, missing = dict(params["text"]), rows - config.text.vocab_size
    if missing <= 0:
        return config, params
    for name in ("embed_tokens", "lm_head"):
        if name in text:
            mean = jnp.mean(text[name], axis=0, keepdims=True, dtype=jnp.float32).astype(text[name].dtype)
            text[name] = jnp.concatenate([text[name], jnp.repeat(mean, missing, axis=0)])
    return replace(config, text=replace(config.text, vocab_size=rows)), params | {"text": text}


def write_companions(folder: Path, config: ThinkerConfig, tokens: MediaTokenizer, pixels: Preprocessor) -> None:
    """The files beside the weights: tokenizer and chat template, what the towers hear and see, the end of an answer."""
    tokens.tokenizer.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    named = json.loads(settings.read_text()) | {
        "tokenizer_class": "PreTrainedTokenizerFast"
    }  # as older readers know it
    settings.write_text(json.dumps(named, indent=2) + "\n")
    ends = {name: getattr(config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    for name, content in (
        ("preprocessor_config.json", preprocessor_settings(config, pixels)),
        ("generation_config.json", ends),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")


def _read_template(path: str) -> str:
    try:
        return Path(path).expanduser().read_text() if path else ""
    except (OSError, ValueError) as error:
        raise InputError(f"config.chat_template: {path} cannot be read ({error})") from error


def _text_line(directory: str, config: ThinkerConfig) -> str:
    text = config.text
    return (
        f"text: {Path(directory).name}, {text.num_hidden_layers} layers of {text.hidden_size}, {text.vocab_size} tokens"
    )


def _audio(parts: Parts, config: ThinkerConfig, params: dict) -> tuple[tuple[AudioConfig, dict] | None, str]:
    """(the tower, None for none; what was chosen)."""
    if not parts.audio:
        return None, "audio: none"
    width, raw = config.text.hidden_size, read_json_config(parts.audio)
    ours = raw.get("model_type") in POLICIES
    tower, weights = read_audio_tower(
        parts.audio,
        width,
        jax.random.key(parts.seed),
        n_window=parts.n_window or (0 if ours else WINDOW),
        dtype=jnp.dtype(parts.dtype),
    )
    if tower.n_window > tower.max_source_positions:
        raise InputError(
            f"config.n_window: {tower.n_window}, but this tower has {tower.max_source_positions} positions"
        )
    heard = raw.get("num_mel_bins", MEL_BINS)
    mel = f"{heard} mel bins" if heard == tower.num_mel_bins else f"{heard} mel bins read out of {tower.num_mel_bins}"
    line = (
        f"audio: {Path(parts.audio).name}, {tower.encoder_layers} layers of {tower.d_model}, {mel}; attention within "
        f"{tower.n_window / 50:g} s (n_window {tower.n_window})"
    )
    if not ours or _section(raw, "audio_config").get("output_dim") != width:
        weights = dict(weights, proj=as_large_as_words(weights["proj"], weights["ln_post"], params["text"]))
        line += _drawn(width, parts.seed)
    return (tower, weights), line


def as_large_as_words(proj: dict, norm: dict, text: dict) -> dict:
    """A random projection [out, in] behind a layer norm, scaled so that what it gives is as large as embeddings of
    words: the expected squared norm of W x is out x std(W)^2 x |x|^2, and |x|^2 is that of the norm's parameters."""
    weight, gain, bias = (np.asarray(x, np.float32) for x in (proj["weight"], norm["weight"], norm["bias"]))
    words = np.sqrt(np.mean(np.sum(np.square(np.asarray(text["embed_tokens"], np.float32)), axis=1)))
    given = np.sqrt(len(weight) * np.mean(np.square(weight)) * np.sum(gain**2 + bias**2))
    return dict(proj, weight=jnp.asarray(weight * (words / given), proj["weight"].dtype))


def _vision(parts: Parts, config: ThinkerConfig, hears: bool) -> tuple[tuple[Any, dict] | None, str]:
    """(the tower, None for none; what was chosen)."""
    width, key = config.text.hidden_size, jax.random.fold_in(jax.random.key(parts.seed), 1)
    if parts.vision:
        found = read_vision_tower(parts.vision, width, key, parts.vision_tokens, jnp.dtype(parts.dtype))
        raw, line = read_json_config(parts.vision), f"vision: {Path(parts.vision).name}"
        omni = isinstance(found[0], VisionConfig)
        tokens = "" if omni else found[0].tokens
        if parts.vision_tokens not in ("cls", tokens):
            raise InputError(f"config.vision_tokens: {parts.vision_tokens} is for CLIP; {parts.vision} has none")
        line += {"": "", "cls": ", the class token of each frame", "patches": ", each patch of a frame"}[tokens]
        fits = omni and _section(raw, "vision_config").get("out_hidden_size") == width
        return found, line if fits else line + _drawn(width, parts.seed)
    small = VisionConfig(
        depth=2, hidden_size=64, intermediate_size=160, num_heads=2, fullatt_block_indexes=(1,), out_hidden_size=width
    )
    if not hears or not fits_thinker(replace(config, audio=AudioConfig(), vision=small), biases=True):
        return None, "vision: none"
    drawn = init_table(tuple(vision_table(small)), key, jnp.dtype(parts.dtype))["vision"]
    return (small, drawn), "vision: a small random tower that the layout asks for: leave video out of prompt.modalities"


def _with_bridges(
    parts: Parts, audio: tuple[Any, dict] | None, vision: tuple[Any, dict] | None, width: int
) -> tuple[tuple[Any, dict] | None, tuple[Any, dict] | None, dict[str, BridgeConfig], list[str]]:
    """(the audio tower, the vision tower, the configurations of the bridges behind them, what was chosen).

    Raises: InputError for a bridge without its tower, or one that does not fit it."""
    towers, bridges, lines = {"audio": audio, "vision": vision}, {}, []
    for place, tower in enumerate(towers):
        if not (directory := getattr(parts, f"{tower}_bridge")):
            continue
        if not getattr(parts, tower):
            raise InputError(f"config.{tower}_bridge: a bridge stands behind a tower: name one as config.{tower}")
        config, params = towers[tower]
        if tower == "vision" and getattr(config, "tokens", "") != "cls":
            raise InputError("config.vision_bridge: the bridge reads CLIP's class tokens; name a directory of CLIP")
        found = read_bridge(directory, config, width, parts.seed + place + 1, jnp.dtype(parts.dtype))
        bridges[f"{tower}_bridge"] = found.config
        towers[tower] = (config, params | {"bridge": found.params} | ({"proj": found.proj} if found.proj else {}))
        made = f"drawn at random (seed {parts.seed})" if directory == FRESH else f"from {Path(directory).name}"
        projected = ", and its projection" if found.proj else ""
        lines.append(f"{tower} bridge: {found.config.num_hidden_layers} layers, {made}{projected}")
    return towers["audio"], towers["vision"], bridges, lines


def _section(raw: dict, name: str) -> dict:
    """A tower's part of a policy's config.json."""
    return raw.get("thinker_config", raw).get(name, {})


def _drawn(width: int, seed: int) -> str:
    return f"; its projection to {width} is drawn at random (seed {seed}) and has to be trained"


def _copy_sources(parts: Parts, folder: Path) -> Iterator[str]:
    """Copies what the parts say of their licence and origin; yields a line where one says nothing."""
    for name in ("text", "audio", "vision"):
        directory = getattr(parts, name)
        beside = sorted(Path(directory).iterdir()) if directory else []
        found = [file for file in beside if file.is_file() and is_paper(file) and lies_in(file, Path(directory))]
        for file in found:
            shutil.copyfile(file, folder / f"{file.stem}-{name}{file.suffix}")
        if directory and not any(file.name.startswith("LICEN") for file in found):
            yield f"licence of {name}: no file beside it in {Path(directory).name}; its source tells"
