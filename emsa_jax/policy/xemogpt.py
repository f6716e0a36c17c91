"""XEmoGPT (papers/xemogpt): a language model that reads speech through HuBERT and AECB, frames through CLIP and VECB,
and words.

A row is a first token, a turn that introduces the sound, the sound, words, the frames, the rest of the turn, and the
answer. Encoders are frozen and stand outside: what they gave comes in. An instruction about one modality trains that
modality's bridge alone: the tokens of the other are read, but no gradient flows into them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from emsa_jax.policy.bridges import encode_bridge
from emsa_jax.policy.decoder import forward
from emsa_jax.policy.layers import linear
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.parameter_table import ParamSpec, bridge_table, linear_params
from emsa_jax.policy.thinker_config import BridgeConfig, ThinkerConfig

BOTH, VISUAL, AUDIO = range(3)  # what an instruction asks about


@dataclass(frozen=True)
class XemogptConfig:
    """text: without towers; vision: VECB; audio: AECB."""

    text: ThinkerConfig
    vision: BridgeConfig
    audio: BridgeConfig


@struct.dataclass
class Rows:
    """Rows of a batch, padded on the right.

    Attributes:
      tokens: [B, S] int32; at places of media, anything.
      media: [B, S] int32, the place among a row's media tokens, its F frames of sound first, then its frames; -1: none.
      mask: [B, S] bool, valid places.
      answer: [B, S] bool, tokens of the answer, its end included.
      asks: [B] int32, `BOTH`, `VISUAL` or `AUDIO`.
    """

    tokens: jax.Array
    media: jax.Array
    mask: jax.Array
    answer: jax.Array
    asks: jax.Array


def bridges_table(config: XemogptConfig) -> Iterator[ParamSpec]:
    """The parameters of bridges and projections, under the names of the published checkpoint."""
    width = config.text.text.hidden_size
    for name, bridge, disk in (("vecb", config.vision, "visual"), ("aecb", config.audio, "audio")):
        for spec in bridge_table(bridge):
            yield replace(spec, path=(name, *spec.path[1:]), disk=f"{disk}_encoder.{spec.disk}")
        size = (width, bridge.hidden_size)
        yield from linear_params((f"{disk}_project",), f"{disk}_llm_project", size, ("media", "vision_embed"))


def lay_out(
    prompts: Sequence[Sequence[Sequence[int]]],
    answers: Sequence[Sequence[int]],
    sound: Sequence[int],
    frames: int,
    asks: Sequence[int],
    first: int = 0,
) -> Rows:
    """Rows out of their pieces.

    Args:
      prompts: of each row, ids before the sound, between sound and frames, and behind the frames.
      answers: ids of each row's answer, the end included.
      sound: valid frames of each row's sound; frames: of each row's video.
      first: id of the token that stands before each row, and in padding.
    """
    most, rows = max(sound), []
    for (before, between, behind), answer, heard in zip(prompts, answers, sound, strict=True):
        text = np.full(heard, first), np.full(frames, first)
        tokens = np.concatenate([[first], before, text[0], between, text[1], behind, answer])
        media = np.full(len(tokens), -1)
        at = 1 + len(before)
        media[at : at + heard] = np.arange(heard)
        at += heard + len(between)
        media[at : at + frames] = most + np.arange(frames)
        rows.append((tokens, media, np.arange(len(tokens)) >= len(tokens) - len(answer)))
    size = max(len(tokens) for tokens, _, _ in rows)
    columns = zip(zip(*rows, strict=True), (first, -1, False), (np.int32, np.int32, bool), strict=True)
    tokens, media, answer = (
        np.stack([np.pad(x, (0, size - len(x)), constant_values=fill) for x in column]).astype(dtype)
        for column, fill, dtype in columns
    )
    mask = np.arange(size) < np.array([len(row) for row, _, _ in rows])[:, None]
    return Rows(tokens, media, mask, answer, np.asarray(asks, np.int32))


def media_tokens(
    params: dict, config: XemogptConfig, frames: jax.Array, sound: jax.Array, valid: jax.Array, asks: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """What the language model reads of the media.

    Args:
      params: with "vecb", "aecb", "visual_project", "audio_project".
      frames: [B, T, width of CLIP], class tokens; sound: [B, F, width of HuBERT], states, valid [B, F] bool.
      asks: [B] int32: no gradient flows into the sound where it is `VISUAL`, nor into the frames where `AUDIO`.

    Returns:
      (sound [B, F, D], frames [B, T, D]).
    """
    heard = linear(encode_bridge(params["aecb"], config.audio, sound, valid), params["audio_project"])
    seen = linear(encode_bridge(params["vecb"], config.vision, frames), params["visual_project"])

    def blocked(tokens: jax.Array, other: int) -> jax.Array:
        return jnp.where((asks == other)[:, None, None], jax.lax.stop_gradient(tokens), tokens)

    return blocked(heard, VISUAL), blocked(seen, AUDIO)


def embed_rows(params: dict, rows: Rows, heard: jax.Array, seen: jax.Array) -> jax.Array:
    """Embeddings [B, S, D] of rows, with media tokens (as `media_tokens` gives them) in their places."""
    x = params["text"]["embed_tokens"][rows.tokens]
    table = jnp.concatenate([heard, seen], axis=1).astype(x.dtype)
    found = jnp.take_along_axis(table, jnp.maximum(rows.media, 0)[..., None], axis=1)
    return jnp.where((rows.media >= 0)[..., None], found, x)


def hidden_states(
    params: dict, adapter: Adapter | None, config: XemogptConfig, x: jax.Array, mask: jax.Array, remat: str = "none"
) -> jax.Array:
    """States [B, S, D] after the last norm, of embedded rows [B, S, D]; positions are 0, 1, 2 and so on."""
    positions = jnp.broadcast_to(jnp.arange(x.shape[1]), (3, *x.shape[:2]))
    return forward(params["text"], adapter, config.text.text, x, positions, jnp.asarray(mask), remat)[0]
