"""Packs prompts and their media into fixed budgets, on the host (NumPy).

Mel chunks and patches of all prompts share one table each, whatever the mix of modalities, so that a batch is always
the same program: text positions hold -1 in `media_index`, placeholders hold the row of the media table (audio tokens
first, then visual ones) whose embedding stands in their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from flax import struct

from emsa_jax.errors import InputError
from emsa_jax.policy.positions import Grid, audio_video_chunks, num_audio_tokens, row_positions
from emsa_jax.policy.thinker_config import ThinkerConfig

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


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


@dataclass(frozen=True)
class Budget:
    """Static sizes of a batch: prompt slots, mel chunks, rows of patches and patches in a row."""

    prompt: int
    chunks: int = 0
    patch_rows: int = 0
    patch_row: int = 0


@struct.dataclass
class PromptInputs:
    """What the policy reads. B prompts of at most S tokens, K mel chunks, R rows of L patches.

    Attributes:
      tokens: [B, S] int32.
      mask: [B, S] bool, valid tokens.
      positions: [3, B, S] int32, TMRoPE.
      next_position: [3, B] int32, of the first answer token.
      media_index: [B, S] int32 into the media table, -1 for text.
      mel: [K, 2 * n_window, bins] float32; mel_length: [K] int32; audio_pairs: [A, 2] int32.
      patches: [R, L, patch_dim] float32; patch_hw: [R, L, 2] int32; frame, window: [R, L] int32.
      shards: equal parts, one after the other, that prompts, chunks, pairs and rows of patches consist of; indices
        count from the beginning of their own part, so that no part needs what another holds.
    """

    tokens: np.ndarray
    mask: np.ndarray
    positions: np.ndarray
    next_position: np.ndarray
    media_index: np.ndarray
    mel: np.ndarray
    mel_length: np.ndarray
    audio_pairs: np.ndarray
    patches: np.ndarray
    patch_hw: np.ndarray
    frame: np.ndarray
    window: np.ndarray
    shards: int = struct.field(pytree_node=False, default=1)

    @staticmethod
    def batch_axis(name: str) -> int:
        """Which dimension of a field is the batch, or that of the media."""
        return 1 if name in ("positions", "next_position") else 0


def join_inputs(parts: Sequence[PromptInputs], shards: int = 0) -> PromptInputs:
    """The parts of a batch, each packed for itself, one after the other. shards: of the whole batch, where these are
    not all of its parts."""
    names = [field.name for field in fields(PromptInputs) if field.name != "shards"]
    if len(parts) == 1:
        return parts[0].replace(shards=shards or 1)
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=PromptInputs.batch_axis(name))
        for name in names
    }
    return PromptInputs(**joined, shards=shards or len(parts))


def patchify(
    config: ThinkerConfig, frames: np.ndarray, seconds: float = 1.0, is_video: bool = True, mean=MEAN, std=STD
) -> Visual:
    """Frames [F, H, W, 3] uint8, H and W multiples of 28, -> normalised patches.

    An odd last frame is repeated (an image is one frame shown twice). `seconds` is the time of a temporal patch;
    mean and std [3] are the checkpoint's, of pixels in 0..1.
    Raises: InputError on other sizes.
    """
    c = config.vision
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


def expand(config: ThinkerConfig, tokens, audios=(), images=(), videos=(), audio_in_video=False) -> list[int]:
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


def needed_budget(config: ThinkerConfig, rows: list[Row], patch_row: int = 0) -> Budget:
    """The smallest budget that holds `rows`, its rows of patches being at least `patch_row` long."""
    visuals = [v for row in rows for v in _in_order(config, row)]
    frame = max([patch_row, *(v.grid.h * v.grid.w for v in visuals)])
    packed = _pack_frames(visuals, frame)
    return Budget(
        max(len(r.tokens) for r in rows),
        sum(-(-len(a) // (2 * config.audio.n_window)) for r in rows for a in r.audios),
        max((row + 1 for row, _ in packed), default=0),
        frame,
    )


def build_inputs(
    config: ThinkerConfig, rows: list[Row], budget: Budget | None = None, pad: str = "left"
) -> PromptInputs:
    """Packs `rows` into `budget` (default: the smallest). `pad`: the side on which prompts are filled up.

    Raises: InputError naming the row and the size that does not fit, or the medium whose tokens do not match.
    """
    need = needed_budget(config, rows, budget.patch_row if budget else 0)
    budget = budget or need
    if budget.patch_row % config.vision.spatial_merge_size**2:
        raise InputError(
            f"budget.patch_row is {budget.patch_row}, but must be a multiple of {config.vision.spatial_merge_size**2}"
        )
    for name in ("prompt", "chunks", "patch_rows", "patch_row"):
        if getattr(need, name) > getattr(budget, name):
            raise InputError(f"a batch needs {name} {getattr(need, name)}, but its budget is {getattr(budget, name)}")
    slots = budget.prompt
    tokens = np.full((len(rows), slots), config.pad_token_id, np.int32)
    mask = np.zeros((len(rows), slots), bool)
    positions = np.ones((3, len(rows), slots), np.int32)
    media = np.full((len(rows), slots), -1, np.int32)
    first_audio = 0
    audio = _pack_audio(config, [a for r in rows for a in r.audios], budget)
    vision, visual_tokens = _pack_vision(config, rows, budget, len(audio["audio_pairs"]))
    for i, row in enumerate(rows):
        at = slice(slots - len(row.tokens), slots) if pad == "left" else slice(0, len(row.tokens))
        tokens[i, at], mask[i, at] = row.tokens, True
        media[i, at], first_audio = _media_index(config, i, row, first_audio, visual_tokens[i])
        positions[:, i, at] = row_positions(
            config,
            row.tokens,
            [len(a) for a in row.audios],
            [v.grid for v in row.images],
            [v.grid for v in row.videos],
            row.audio_in_video,
        )
    last = slots - 1 - np.argmax(mask[:, ::-1], axis=1)
    following = positions[:, np.arange(len(rows)), last] + 1
    return PromptInputs(tokens, mask, positions, following.astype(np.int32), media, **audio, **vision)


def _pack_audio(config: ThinkerConfig, audios, budget: Budget) -> dict:
    c = config.audio
    frames = 2 * c.n_window
    mel = np.zeros((budget.chunks, frames, c.num_mel_bins), np.float32)
    length = np.zeros(budget.chunks, np.int32)
    pairs = np.zeros((budget.chunks * c.n_window // 2, 2), np.int32)
    chunk = token = 0
    for a in audios:
        where = []
        for start in range(0, len(a), frames):
            piece = a[start : start + frames]
            mel[chunk, : len(piece)], length[chunk] = piece, len(piece)
            where += [chunk * c.n_window + j for j in range((len(piece) - 1) // 2 + 1)]
            chunk += 1
        n = num_audio_tokens(len(a))
        pairs[token : token + n] = np.array(where[: 2 * n], np.int32).reshape(n, 2)
        token += n
    return {"mel": mel, "mel_length": length, "audio_pairs": pairs}


def _pack_frames(visuals: list[Visual], patch_row: int) -> list[tuple[int, int]]:
    """(row, first slot) of each temporal patch, in order: a frame that does not fit opens the next row."""
    placed, row, used = [], 0, 0
    for v in visuals:
        size = v.grid.h * v.grid.w
        for _ in range(v.grid.t):
            if used + size > patch_row:
                row, used = row + 1, 0
            placed.append((row, used))
            used += size
    return placed


def _pack_vision(config: ThinkerConfig, rows: list[Row], budget: Budget, offset: int) -> tuple[dict, list]:
    c = config.vision
    shape = (budget.patch_rows, budget.patch_row)
    patches = np.zeros((*shape, c.patch_dim), np.float32)
    hw = np.zeros((*shape, 2), np.int32)
    frame = np.full(shape, -1, np.int32)
    window = np.full(shape, -1, np.int32)
    per_token = c.spatial_merge_size**2
    ordered = [list(_in_order(config, row)) for row in rows]
    placed = iter(_pack_frames([v for row in ordered for v in row], budget.patch_row))
    segment = 0
    tokens: list[list[np.ndarray]] = []
    for row in ordered:
        tokens.append([])
        for v in row:
            size, (hw_ids, windows) = v.grid.h * v.grid.w, _frame_layout(config, v.grid)
            where = []
            for t in range(v.grid.t):
                r, slot = next(placed)
                at = (r, slice(slot, slot + size))
                patches[at], hw[at] = v.patches[t * size : (t + 1) * size], hw_ids
                frame[at], window[at] = segment, segment + windows
                segment += int(windows.max()) + 1
                where.append(offset + (r * budget.patch_row + slot) // per_token + np.arange(size // per_token))
            tokens[-1].append(np.concatenate(where))
    return {"patches": patches, "patch_hw": hw, "frame": frame, "window": window}, tokens


def _frame_layout(config: ThinkerConfig, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Row and column [h * w, 2] of a frame's patches in merge-block order, and the window each one is in."""
    m = config.vision.spatial_merge_size
    h, w = np.meshgrid(np.arange(grid.h), np.arange(grid.w), indexing="ij")
    hw = np.stack([a.reshape(grid.h // m, m, grid.w // m, m).transpose(0, 2, 1, 3).reshape(-1) for a in (h, w)], -1)
    side = config.vision.window_size // m // config.vision.patch_size
    row, col = (hw // m // side).T
    return hw.astype(np.int32), (row * (grid.w // m // side + 1) + col).astype(np.int32)


def _in_order(config: ThinkerConfig, row: Row):
    """The row's visuals as their placeholders appear: images and videos may alternate."""
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


def _media_index(config: ThinkerConfig, i: int, row: Row, first_audio: int, visual_tokens) -> tuple[np.ndarray, int]:
    """Row of the media table for each token (-1 for text), and the next free audio token."""
    ids = np.asarray(row.tokens)
    out = np.full(len(ids), -1, np.int32)
    is_audio = ids == config.audio_token_id
    is_visual = (ids == config.image_token_id) | (ids == config.video_token_id)
    audio_tokens = sum(num_audio_tokens(len(a)) for a in row.audios)
    visual = np.concatenate([np.zeros(0, np.int32), *visual_tokens]).astype(np.int32)
    for kind, found, given in (("audio", is_audio.sum(), audio_tokens), ("visual", is_visual.sum(), len(visual))):
        if found != given:
            raise InputError(f"prompt {i} has {found} {kind} placeholders, but its media give {given} tokens")
    out[is_audio] = first_audio + np.arange(audio_tokens)
    out[is_visual] = visual
    return out, first_audio + audio_tokens
