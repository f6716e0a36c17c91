"""TMRoPE positions and token layout, on the host (NumPy).

Equal to `transformers`' get_rope_index, its quirks included: in audio-in-video the chunk threshold rises by one step
at each split, and the end markers follow the last chunk, not the largest position.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from emsa_jax.policy.thinker_config import ThinkerConfig


@dataclass(frozen=True)
class Grid:
    """An image or a video in patches: t temporal patches of h x w; seconds per temporal patch (videos)."""

    t: int
    h: int
    w: int
    seconds: float = 1.0
    is_video: bool = True

    def num_tokens(self, config: ThinkerConfig) -> int:
        return self.t * self.h * self.w // config.vision.spatial_merge_size**2


def num_audio_tokens(mel_frames: int) -> int:
    """Audio tokens of a log-mel of `mel_frames` frames: convolution stride 2, then pooling by 2."""
    return max(((mel_frames - 1) // 2 - 1) // 2 + 1, 0)


def audio_video_chunks(config: ThinkerConfig, grid: Grid, mel_frames: int) -> list[tuple[str, int]]:
    """How audio-in-video interleaves: ("video" | "audio", tokens) runs in order."""
    step = config.position_id_per_seconds * config.seconds_per_chunk
    video = _chunks(_grid_positions(config, grid)[0], step)
    audio = _chunks(np.arange(num_audio_tokens(mel_frames)), step)
    runs = []
    for i in range(max(len(video), len(audio))):
        runs += [("video", video[i])] if i < len(video) else []
        runs += [("audio", audio[i])] if i < len(audio) else []
    return runs


def row_positions(
    config: ThinkerConfig,
    tokens: Sequence[int] | np.ndarray,
    audios: Iterable[int] = (),
    images: Iterable[Grid] = (),
    videos: Iterable[Grid] = (),
    audio_in_video: bool = False,
) -> np.ndarray:
    """Positions [3, S] int32 of one unpadded row.

    Args:
      tokens: [S] ids with placeholders already expanded.
      audios: mel frames of each audio; images, videos: `Grid`s; each in order of appearance.
    """
    tokens = np.asarray(tokens)
    out = np.zeros((3, len(tokens)), np.int32)
    audios, images, videos = iter(audios), iter(images), iter(videos)
    i = following = 0
    while i < len(tokens):
        token = tokens[i]
        if (
            audio_in_video
            and token == config.vision_start_token_id
            and i + 1 < len(tokens)
            and tokens[i + 1] == config.audio_start_token_id
        ):
            out[:, i : i + 2] = following  # both start markers share one position
            block, last = _interleaved(config, next(videos), next(audios), following + 1)
            n = block.shape[1]
            out[:, i + 2 : i + 2 + n] = block
            out[:, i + 2 + n : i + 4 + n] = last + 1  # and so do both end markers
            i, following = i + n + 4, last + 2
            continue
        block = _media_block(config, token, audios, images, videos)
        out[:, i : i + block.shape[1]] = block + following
        i, following = i + block.shape[1], following + int(block.max()) + 1
    return out


def _media_block(
    config: ThinkerConfig, token: int, audios: Iterator[int], images: Iterator[Grid], videos: Iterator[Grid]
) -> np.ndarray:
    if token == config.audio_token_id:
        return _run(next(audios))
    if token == config.image_token_id:
        return _grid_positions(config, next(images))
    if token == config.video_token_id:
        return _grid_positions(config, next(videos))
    return np.zeros((3, 1), np.int32)


def _run(mel_frames: int) -> np.ndarray:
    return np.tile(np.arange(num_audio_tokens(mel_frames), dtype=np.int32), (3, 1))


def _grid_positions(config: ThinkerConfig, grid: Grid) -> np.ndarray:
    """[3, tokens]: time in position ids, row and column on the merged grid, from zero."""
    merge = config.vision.spatial_merge_size
    t = np.arange(grid.t)
    if grid.is_video:  # the float32 product is truncated, as the reference does it
        t = t.astype(np.float32) * np.float32(grid.seconds) * np.float32(config.position_id_per_seconds)
    else:
        t = t * config.position_id_per_seconds
    axes = np.meshgrid(t.astype(np.int32), np.arange(grid.h // merge), np.arange(grid.w // merge), indexing="ij")
    return np.stack([a.reshape(-1) for a in axes]).astype(np.int32)


def _interleaved(config: ThinkerConfig, grid: Grid, mel_frames: int, start: int) -> tuple[np.ndarray, int]:
    """Positions of the interleaved block, and the largest position of its last chunk."""
    parts = {"video": _grid_positions(config, grid) + start, "audio": _run(mel_frames) + start}
    used, pieces = {"video": 0, "audio": 0}, []
    for kind, n in audio_video_chunks(config, grid, mel_frames):
        pieces.append(parts[kind][:, used[kind] : used[kind] + n])
        used[kind] += n
    return np.concatenate(pieces, axis=1), int(pieces[-1].max())


def _chunks(values: np.ndarray, step: int) -> list[int]:
    """Lengths of the runs that `values` (non-decreasing) are cut into, the threshold rising by one step per cut."""
    lengths, start, threshold = [], 0, step
    for i, value in enumerate(values):
        if value >= threshold:
            lengths.append(i - start)
            start, threshold = i, threshold + step
    return lengths + [len(values) - start]
