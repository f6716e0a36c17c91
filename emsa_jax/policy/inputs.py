"""Packs prompts and their media into batches of fixed shapes, on the host (NumPy).

Mel chunks and patches of all prompts share one table each, whatever the mix of modalities, so that a batch is always
the same program: text positions hold -1 in `media_index`, placeholders hold the row of the media table (audio tokens
first, then visual ones) whose embedding stands in their place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import jax
import numpy as np
from flax import struct

from emsa_jax.errors import InputError
from emsa_jax.policy.positions import Grid, num_audio_tokens, row_positions
from emsa_jax.policy.prompt_row import Row, Visual, visuals_in_order
from emsa_jax.policy.thinker_config import ClipConfig, ThinkerConfig, VisionConfig


@dataclass(frozen=True)
class InputShape:
    """The static sizes of a batch, for which a program is compiled.

    Attributes:
      prompt: token slots of each prompt.
      chunks: mel chunks of all prompts together.
      patch_rows: rows of patches of all prompts together.
      patch_row: patches in a row.
      chunk_frames: mel frames of a chunk, a multiple of 4; 0: the tower's, 2 * n_window. Fewer where no sound is as
        long as a chunk, so that its end is not computed: it would be masked.
      encoded: dtype of the towers' states, which are given in place of mel and patches; "" where those are given.
    """

    prompt: int
    chunks: int = 0
    patch_rows: int = 0
    patch_row: int = 0
    chunk_frames: int = 0
    encoded: str = ""


@struct.dataclass
class TowerStates:
    """What the towers make of a batch's media, before any projector: what is left of them when they are frozen.

    Attributes:
      audio: [A, d_model] of the audio tokens, or None.
      vision: [R * L / 4, 4, hidden_size] of the merge blocks, of CLIP [tokens, 1, hidden_size], or None.
    """

    audio: np.ndarray | None = None
    vision: np.ndarray | None = None


@struct.dataclass
class PromptInputs:
    """What the policy reads. B prompts of at most S tokens, K mel chunks, R rows of L patches.

    Attributes:
      tokens: [B, S] int32.
      mask: [B, S] bool, valid tokens.
      positions: [3, B, S] int32, TMRoPE.
      next_position: [3, B] int32, of the first answer token.
      media_index: [B, S] int32 into the media table, -1 for text.
      mel: [K, frames of a chunk, bins] float32; mel_length: [K] int32; audio_pairs: [A, 2] int32.
      patches: [R, L, patch_dim] float32; patch_hw: [R, L, 2] int32; frame, window: [R, L] int32.
      shards: equal parts, one after the other, that prompts, chunks, pairs and rows of patches consist of; indices
        count from the beginning of their own part, so that no part needs what another holds.
      states: of the towers, where they are known; then mel and patches have one number in place of their last axis,
        and are not read.
      asks: [B] int32, what each prompt asks about, a place in `prompt_row.ASKS`; only of policies with bridges.
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
    states: TowerStates | None = None
    asks: np.ndarray | None = None

    @staticmethod
    def batch_axis(name: str) -> int:
        """Which dimension of a field is the batch, or that of the media."""
        return 1 if name in ("positions", "next_position") else 0


# the fields that every batch has
PACKED = tuple(field.name for field in fields(PromptInputs) if field.name not in ("shards", "states", "asks"))


def join_inputs(parts: Sequence[PromptInputs], shards: int = 0) -> PromptInputs:
    """The parts of a batch, each packed for itself, one after the other. shards: of the whole batch, where these are
    not all of its parts."""
    if len(parts) == 1:
        return parts[0].replace(shards=shards or 1)
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts], axis=PromptInputs.batch_axis(name))
        for name in PACKED
    }
    states, asks = (
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *(getattr(part, name) for part in parts))
        for name in ("states", "asks")
    )
    return PromptInputs(**joined, shards=shards or len(parts), states=states, asks=asks)


def smallest_shape(config: ThinkerConfig, rows: list[Row], patch_row: int = 0) -> InputShape:
    """The smallest shape that holds `rows`, its rows of patches being at least `patch_row` long."""
    for kind, tower, given in (
        ("sound", config.audio, any(row.audios for row in rows)),
        ("pictures", config.vision, any(row.images or row.videos for row in rows)),
    ):
        if given and tower is None:
            raise InputError(f"a prompt has {kind}, but this policy has no tower for them: change prompt.modalities")
    visuals = [v for row in rows for v in visuals_in_order(config, row)]
    frame = max([patch_row, *(v.grid.h * v.grid.w for v in visuals)])
    packed = _pack_frames(visuals, frame)
    return InputShape(
        max(len(r.tokens) for r in rows),
        sum(-(-len(a) // (2 * config.audio.n_window)) for r in rows for a in r.audios),
        max((row + 1 for row, _ in packed), default=0),
        frame,
        chunk_frames(config, [len(a) for row in rows for a in row.audios]),
    )


def chunk_frames(config: ThinkerConfig, mel_frames: Sequence[int]) -> int:
    """`InputShape.chunk_frames` for sounds of so many mel frames."""
    longest = -(-max(mel_frames, default=0) // 4) * 4
    return longest if config.audio and longest < 2 * config.audio.n_window else 0


def build_inputs(
    config: ThinkerConfig, rows: list[Row], shape: InputShape | None = None, pad: str = "left"
) -> PromptInputs:
    """Packs `rows` into a batch of `shape` (default: the smallest). `pad`: the side on which prompts are filled up.

    Raises: InputError naming the row and the size that does not fit, or the medium whose tokens do not match.
    """
    need = smallest_shape(config, rows, shape.patch_row if shape else 0)
    shape = shape or need
    if config.vision and shape.patch_row % config.vision.unit:
        raise InputError(f"patch_row is {shape.patch_row}, but must be a multiple of {config.vision.unit}")
    for name in ("prompt", "chunks", "patch_rows", "patch_row"):
        if getattr(need, name) > getattr(shape, name):
            raise InputError(f"a batch needs {name} {getattr(need, name)}, but its shape has {getattr(shape, name)}")
    heard = need.chunks and (need.chunk_frames or 2 * config.audio.n_window)
    if shape.chunk_frames and heard > shape.chunk_frames:
        raise InputError(f"a batch needs chunk_frames {heard}, but its shape has {shape.chunk_frames}")
    slots = shape.prompt
    tokens = np.full((len(rows), slots), config.pad_token_id, np.int32)
    mask = np.zeros((len(rows), slots), bool)
    positions = np.ones((3, len(rows), slots), np.int32)
    media = np.full((len(rows), slots), -1, np.int32)
    first_audio = 0
    audio = _pack_audio(config, [a for r in rows for a in r.audios], shape)
    vision, visual_tokens = _pack_vision(config, rows, shape, len(audio["audio_pairs"]))
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
    asks = np.array([row.asks for row in rows], np.int32) if config.bridged else None
    packed = PromptInputs(tokens, mask, positions, following.astype(np.int32), media, **audio, **vision, asks=asks)
    return packed.replace(states=_empty_states(config, shape)) if shape.encoded else packed


def _empty_states(config: ThinkerConfig, shape: InputShape) -> TowerStates:
    """States of a batch, all 0."""
    audio = vision = None
    if config.audio and shape.chunks:
        states = shape.chunk_frames // 2 or config.audio.n_window
        audio = np.zeros((shape.chunks * states // 2, config.audio.d_model), shape.encoded)
    if config.vision and shape.patch_rows:
        tokens = shape.patch_rows * shape.patch_row // config.vision.spatial_merge_size**2
        vision = np.zeros((tokens, state_block(config.vision), config.vision.hidden_size), shape.encoded)
    return TowerStates(audio, vision)


def state_block(config: VisionConfig | ClipConfig) -> int:
    """States of a vision tower that make one token."""
    return 1 if isinstance(config, ClipConfig) else config.spatial_merge_size**2


def media_rows(config: ThinkerConfig, inputs: PromptInputs, parts: int) -> list[dict[str, np.ndarray]]:
    """Of each prompt: tower -> the rows of its states that belong to the prompt, in order.

    inputs: host arrays of `parts` shards; rows count from the first of them."""
    block = config.vision.spatial_merge_size**2 if config.vision else 1
    audio = len(inputs.audio_pairs) // parts
    visual = inputs.frame.size // block // parts
    found = []
    for prompt, index in enumerate(inputs.media_index):
        shard, rows = prompt * parts // len(inputs.media_index), np.sort(index[index >= 0])
        found.append(
            {"audio": shard * audio + rows[rows < audio], "vision": shard * visual + rows[rows >= audio] - audio}
        )
    return found


def abstract_inputs(config: ThinkerConfig, shape: InputShape, batch_size: int) -> PromptInputs:
    """A batch of `batch_size` empty prompts of that shape, for compiling the programs that read one."""
    return build_inputs(config, [Row([0])] * batch_size, shape)


def _pack_audio(config: ThinkerConfig, audios: Iterable[np.ndarray], shape: InputShape) -> dict:
    c = config.audio
    if c is None:
        return {"mel": np.zeros((0, 0, 0), np.float32), "mel_length": _none(0), "audio_pairs": _none(0, 2)}
    frames = 2 * c.n_window
    width = shape.chunk_frames or frames
    mel = np.zeros((shape.chunks, width, 1 if shape.encoded else c.num_mel_bins), np.float32)
    length = np.zeros(shape.chunks, np.int32)
    pairs = np.zeros((shape.chunks * (width // 2) // 2, 2), np.int32)
    chunk = token = 0
    for a in audios:
        where = []
        for start in range(0, len(a), frames):
            piece = a[start : start + frames]
            length[chunk] = len(piece)
            if not shape.encoded:
                mel[chunk, : len(piece)] = piece
            where += [chunk * (width // 2) + j for j in range((len(piece) - 1) // 2 + 1)]
            chunk += 1
        n = num_audio_tokens(len(a))
        pairs[token : token + n] = np.array(where[: 2 * n], np.int32).reshape(n, 2)
        token += n
    return {"mel": mel, "mel_length": length, "audio_pairs": pairs}


def _none(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.int32)


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


def _pack_vision(config: ThinkerConfig, rows: list[Row], shape: InputShape, offset: int) -> tuple[dict, list]:
    c = config.vision
    if c is None:
        empty = {"patches": np.zeros((0, 0, 0), np.float32), "patch_hw": _none(0, 0, 2)}
        return empty | {"frame": _none(0, 0), "window": _none(0, 0)}, [[] for _ in rows]
    table = (shape.patch_rows, shape.patch_row)
    patches = np.zeros((*table, 1 if shape.encoded else c.patch_dim), np.float32)
    hw = np.zeros((*table, 2), np.int32)
    frame = np.full(table, -1, np.int32)
    window = np.full(table, -1, np.int32)
    per_token = c.spatial_merge_size**2
    ordered = [list(visuals_in_order(config, row)) for row in rows]
    placed = iter(_pack_frames([v for row in ordered for v in row], shape.patch_row))
    segment = 0
    tokens: list[list[np.ndarray]] = []
    for row in ordered:
        tokens.append([])
        for v in row:
            size, (hw_ids, windows) = v.grid.h * v.grid.w, frame_layout(config, v.grid)
            where = []
            for t in range(v.grid.t):
                r, slot = next(placed)
                at = (r, slice(slot, slot + size))
                if not shape.encoded:
                    patches[at] = v.patches[t * size : (t + 1) * size]
                hw[at] = hw_ids
                frame[at], window[at] = segment, segment + windows
                segment += int(windows.max()) + 1
                where.append(offset + (r * shape.patch_row + slot) // per_token + np.arange(size // per_token))
            tokens[-1].append(np.concatenate(where))
    return {"patches": patches, "patch_hw": hw, "frame": frame, "window": window}, tokens


def frame_layout(config: ThinkerConfig, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Row and column [h * w, 2] of a frame's patches in merge-block order, and the window each one is in."""
    m = config.vision.spatial_merge_size
    h, w = np.meshgrid(np.arange(grid.h), np.arange(grid.w), indexing="ij")
    hw = np.stack([a.reshape(grid.h // m, m, grid.w // m, m).transpose(0, 2, 1, 3).reshape(-1) for a in (h, w)], -1)
    if isinstance(config.vision, ClipConfig):  # no windows
        return hw.astype(np.int32), np.zeros(len(hw), np.int32)
    side = config.vision.window_size // m // config.vision.patch_size
    row, col = (hw // m // side).T
    return hw.astype(np.int32), (row * (grid.w // m // side + 1) + col).astype(np.int32)


def _media_index(
    config: ThinkerConfig, i: int, row: Row, first_audio: int, visual_tokens: Iterable[np.ndarray]
) -> tuple[np.ndarray, int]:
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
