"""The frozen encoders behind which cue bridges stand: frames, sound, captions."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from emsa_jax.data.media.sound import read_sound
from emsa_jax.data.media.video import read_frames
from emsa_jax.data.mel import HOP, SAMPLE_RATE, log_mel
from emsa_jax.errors import InputError
from emsa_jax.policy import parts
from emsa_jax.policy.audio import audio_features, encode_chunks
from emsa_jax.policy.clip import clip_states, encode_clip_text
from emsa_jax.policy.hf_config import read_json_config
from emsa_jax.policy.hubert import encode_hubert, normalise_waves, num_frames
from emsa_jax.policy.positions import num_audio_tokens
from emsa_jax.policy.prompt_row import patchify
from emsa_jax.policy.sentence_encoder import read_sentence_encoder, read_tokens
from emsa_jax.policy.thinker_config import AudioConfig, ClipConfig, HubertConfig, ThinkerConfig
from emsa_jax.training.bridge_options import BridgesOptions

TEXTS = 32  # captions that are encoded together
LEAST_PIXELS, MOST_PIXELS = 224 * 224, 512 * 512  # of a frame before CLIP's own processing


@dataclass(frozen=True)
class ClipEncoder:
    """encode: path -> states [at most `places`, `width`] float32. Raises Broken or InputError for a file that cannot be
    read."""

    places: int
    width: int
    encode: Callable[[Path], np.ndarray]


def encoder_config(options: BridgesOptions) -> ClipConfig | HubertConfig | AudioConfig:
    """The configuration of `options.encoder`. Raises: InputError for an encoder of another kind."""
    if options.kind == "vecb":
        return parts.clip_config_of(options.encoder)
    if read_json_config(options.encoder).get("model_type") == "whisper":
        return parts.whisper_config_of(options.encoder)
    return parts.hubert_config_of(options.encoder)


def clip_encoder(options: BridgesOptions) -> ClipEncoder:
    """Class tokens of frames by CLIP, or states of sound by HuBERT or Whisper's encoder."""
    config = encoder_config(options)
    if isinstance(config, ClipConfig):
        return _frames(options)
    run = (_hubert if isinstance(config, HubertConfig) else _whisper)(options)
    samples = math.ceil(options.seconds * SAMPLE_RATE)

    def encode(path: Path) -> np.ndarray:
        wave = read_sound(path, end=options.seconds)
        if len(wave) < SAMPLE_RATE // 10:
            raise InputError(f"{path}: has no tenth of a second of sound, which the audio bridge hears")
        return run(wave)

    if isinstance(config, HubertConfig):
        return ClipEncoder(num_frames(config, samples), config.hidden_size, encode)
    return ClipEncoder(num_audio_tokens(math.ceil(samples / HOP)), config.d_model, encode)


def _frames(options: BridgesOptions) -> ClipEncoder:
    config, params = parts.read_vision_tower(options.encoder, 1, jax.random.key(0))
    policy = ThinkerConfig(audio=None, vision=config)
    run = jax.jit(lambda patches: clip_states(params, None, config, patches))

    def spread(total: int, _: float) -> np.ndarray:
        return np.linspace(0, total - 1, min(options.frames, total)).astype(int)  # cut, not rounded, as published

    def encode(path: Path) -> np.ndarray:
        frames = read_frames(path, spread, LEAST_PIXELS, MOST_PIXELS).images
        return np.asarray(run(patchify(policy, frames).patches[None]), np.float32)

    return ClipEncoder(options.frames, config.hidden_size, encode)


def _hubert(options: BridgesOptions) -> Callable[[np.ndarray], np.ndarray]:
    config, params = parts.read_hubert(options.encoder)
    run = jax.jit(functools.partial(encode_hubert, params, config))

    def encode(wave: np.ndarray) -> np.ndarray:
        spare = ((0, 0), (0, -len(wave) % SAMPLE_RATE))  # whole seconds: few programs are compiled
        states, valid = run(*(np.pad(x, spare) for x in normalise_waves([wave])))
        return np.asarray(states, np.float32)[0, : int(valid.sum())]

    return encode


def _whisper(options: BridgesOptions) -> Callable[[np.ndarray], np.ndarray]:
    config, params = parts.read_audio_tower(options.encoder, 1, jax.random.key(0))
    if options.seconds * 100 > 2 * config.n_window:
        raise InputError(f"config.seconds: {options.encoder} hears {config.n_window / 50:g} s at most")

    @jax.jit
    def run(mel: jax.Array, length: jax.Array) -> jax.Array:
        states = encode_chunks(params, None, config, mel, length)
        pairs = states.reshape(*states.shape[:1], -1, 2, states.shape[-1]).mean(2)  # as the tower of a policy has it
        return audio_features(params, None, pairs)

    def encode(wave: np.ndarray) -> np.ndarray:
        mel = log_mel(wave)
        padded = np.pad(mel, ((0, -len(mel) % 100), (0, 0)))
        states = run(padded[None], np.array([len(mel)], np.int32))
        return np.asarray(states, np.float32)[0, : num_audio_tokens(len(mel))]

    return encode


def caption_encoder(directory: str) -> Callable[[Sequence[str]], np.ndarray]:
    """Captions -> [N, text_size], by CLIP's text half or a sentence encoder. Raises: InputError for another kind."""
    if read_json_config(directory).get("model_type") != "clip":
        return read_sentence_encoder(directory).embed
    config, params = parts.read_clip_text(directory)
    run = jax.jit(lambda ids, mask: encode_clip_text(params, config, ids, mask))
    tokenizer = read_tokens(Path(directory) / "tokenizer.json", config.vocab_size)

    def encode(texts: Sequence[str]) -> np.ndarray:
        size, found = config.max_position_embeddings, []
        rows = [encoded.ids for encoded in tokenizer.encode_batch(list(texts))]
        rows = [ids if len(ids) <= size else [*ids[: size - 1], ids[-1]] for ids in rows]
        for first in range(0, len(rows), TEXTS):
            ids, mask = np.zeros((TEXTS, size), np.int32), np.zeros((TEXTS, size), bool)
            some = rows[first : first + TEXTS]
            for i, row in enumerate(some):
                ids[i, : len(row)], mask[i, : len(row)] = row, True
            found.append(np.asarray(run(ids, mask), np.float32)[: len(some)])
        return np.concatenate(found)

    return encode
