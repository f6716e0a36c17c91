"""One prompt and its media as arrays, before prompts are packed into a batch (NumPy, on the host)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from emsa_jax.data.resize import square
from emsa_jax.errors import InputError
from emsa_jax.policy.positions import Grid, audio_video_chunks, num_audio_tokens
from emsa_jax.policy.thinker_config import ClipConfig, ThinkerConfig

# Of red, green and blue in 0..1: the values of CLIP, which the released preprocessor states.
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
ASKS = ("both", "visual", "audio")  # what a prompt asks about: an instruction about one trains that branch alone


@dataclass(frozen=True)
class Visual:
    """An image or a video ready for the tower: patches [t * h * w, patch_dim] float32 in merge-block order."""

    patches: np.ndarray
    grid: Grid


@dataclass(frozen=True)
class Row:
    """One prompt. Media stand in the order in which their placeholders appear in `tokens` (already expanded)."""

    tokens: list[int]
    audios: list[np.ndarray] = field(default_factory=list)  # log-mel [T, num_mel_bins]
    images: list[Visual] = field(default_factory=list)
    videos: list[Visual] = field(default_factory=list)
    audio_in_video: bool = False
    asks: int = 0  # a place in ASKS


def patchify(
    config: ThinkerConfig,
    frames: np.ndarray,
    seconds: float = 1.0,
    is_video: bool = True,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> Visual:
    """Frames [F, H, W, 3] uint8, H and W multiples of 28, -> normalised patches.

    An odd last frame is repeated (an image is one frame shown twice). For CLIP, frames of any size are brought to its
    own as its image processor does. `seconds` is the time of a temporal patch;
    mean and std [3] are the checkpoint's, of pixels in 0..1.
    Raises: InputError on other sizes.
    """
    c = config.vision
    if isinstance(c, ClipConfig):
        frames = np.stack([square(frame, c.image_size) for frame in frames])
    block = c.patch_size * c.spatial_merge_size
    count, height, width = frames.shape[:3]
    if height % block or width % block or not count:
        raise InputError(f"frames of shape {frames.shape}: height and width must be multiples of {block}")
    mean, std = np.asarray(mean, np.float32) * 255, np.asarray(std, np.float32) * 255
    pixels = (frames.astype(np.float32) - mean) / std
    if count % c.temporal_patch_size:
        pixels = np.concatenate([pixels, pixels[-1:]])
    t, h, w = len(pixels) // c.temporal_patch_size, height // c.patch_size, width // c.patch_size
    m, p = c.spatial_merge_size, c.patch_size
    x = pixels.reshape(t, c.temporal_patch_size, h // m, m, p, w // m, m, p, 3)
    x = x.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7).reshape(t * h * w, c.patch_dim)
    return Visual(np.ascontiguousarray(x), Grid(t, h, w, seconds, is_video))


def expand(
    config: ThinkerConfig,
    tokens: Iterable[int],
    audios: Iterable[np.ndarray] = (),
    images: Iterable[Visual] = (),
    videos: Iterable[Visual] = (),
    audio_in_video: bool = False,
) -> list[int]:
    """Replaces each medium's single placeholder by as many as it has tokens.

    With `audio_in_video` a video's placeholder becomes start marker, interleaved video and audio, end marker.
    Raises: InputError when placeholders and media do not match in number, or an audio is too short for a token.
    """
    left = {"audio": list(audios), "image": list(images), "video": list(videos)}
    kinds = {config.audio_token_id: "audio", config.image_token_id: "image", config.video_token_id: "video"}
    out: list[int] = []
    for token in tokens:
        kind = kinds.get(token)
        if kind is None:
            out.append(token)
            continue
        if not left[kind] or (kind == "video" and audio_in_video and not left["audio"]):
            raise InputError(f"the prompt names more media than it is given: no {kind} left")
        item = left[kind].pop(0)
        sound = item if kind == "audio" else left["audio"][0] if kind == "video" and audio_in_video else None
        if sound is not None and not num_audio_tokens(len(sound)):
            raise InputError(f"an audio of {len(sound)} log-mel frames gives no token: it needs at least 3")
        if kind == "video" and audio_in_video:
            ids = {"video": config.video_token_id, "audio": config.audio_token_id}
            runs = audio_video_chunks(config, item.grid, len(left["audio"].pop(0)))
            out += [
                config.audio_start_token_id,
                *(ids[k] for k, n in runs for _ in range(n)),
                config.audio_end_token_id,
            ]
        else:
            out += [token] * (num_audio_tokens(len(item)) if kind == "audio" else item.grid.num_tokens(config))
    if any(left.values()):
        raise InputError(
            "the prompt is given media without a placeholder: "
            + ", ".join(f"{len(v)} {k}" for k, v in left.items() if v)
        )
    return out


def visuals_in_order(config: ThinkerConfig, row: Row) -> Iterator[Visual]:
    """The row's visuals in the order of their placeholders: images and videos may alternate.

    Raises: InputError when placeholders and visuals do not match in number.
    """
    sources = {config.image_token_id: iter(row.images), config.video_token_id: iter(row.videos)}
    left = dict.fromkeys(sources, 0)
    for token in row.tokens:
        if token not in sources:
            continue
        if left[token] == 0:
            visual = next(sources[token], None)
            if visual is None:
                raise InputError("a prompt has more visual placeholders than its images and videos have tokens")
            left[token] = visual.grid.num_tokens(config)
            yield visual
        left[token] -= 1
    if any(next(rest, None) for rest in sources.values()):
        raise InputError("a prompt is given more images or videos than it has placeholders for")
