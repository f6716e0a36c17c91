"""What frozen towers make of clips: computed clip by clip, so that it depends on nothing else, and kept on disk.

The states before the projector are kept, so that projectors may be trained. An entry's key is a hash of the tower's
weights and settings, of what computes it, and of the pixels or the log-mel themselves.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.config.edge import digest
from emsa_jax.data.records import Clip, Entry
from emsa_jax.policy.audio import encode_chunks
from emsa_jax.policy.checkpoint import Checkpoint
from emsa_jax.policy.inputs import PromptInputs, TowerStates, frame_layout, media_rows, state_block
from emsa_jax.policy.layout import on_host
from emsa_jax.policy.lora import Adapter
from emsa_jax.policy.parameter_table import get, nest, param_table
from emsa_jax.policy.positions import num_audio_tokens
from emsa_jax.policy.prompt_row import patchify
from emsa_jax.policy.thinker import comes_after_states, keeps_states
from emsa_jax.policy.vision import vision_states
from emsa_jax.rollout.encoding_store import EncodingStore
from emsa_jax.rollout.rollout_options import EncodingOptions


class Shown(Protocol):
    """What of a clip a prompt shows."""

    def shows(self, clip: Clip) -> tuple[bool, bool]:
        """(whether it shows the clip's video, whether its audio)."""
        ...


class TowerEncoder:
    """The frozen towers of a policy, on one device of this process.

    Attributes:
      dtype: of the states, that of the policy.
      store: where they are kept; None: nowhere.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dtype: str,
        entries: Sequence[Entry],
        modalities: Collection[str],
        store: EncodingStore | None,
    ) -> None:
        """entries: of all clips to be encoded, whose sizes decide the programs. modalities: of their prompts."""
        self.dtype, self.store = dtype, store
        self._config, self._stats = checkpoint.config, checkpoint.preprocessor
        grids = [
            self._grid((e.num_frames, e.height, e.width)) for e in entries if e.num_frames and "video" in modalities
        ]
        self._row = max((rows * columns for _, rows, columns in grids), default=0)
        sounds = {e.mel_frames for e in entries} if "audio" in modalities else set()
        self._widths = sorted({width for frames in sounds for width in self._pieces(frames)})
        self._params: dict = {}
        self._programs: dict[int, Callable[..., jax.Array]] = {}
        self._lock = threading.Lock()

    def load(self, params: dict) -> None:
        """Takes the weights and compiles. On several processes all have to call it."""
        specs = [s for s in param_table(self._config) if s.path[0] != "text" and not comes_after_states(s.path)]
        alone, device = jax.process_count() == 1, jax.local_devices()[0]

        def local(leaf: Any) -> Any:
            here = isinstance(leaf, jax.Array) and alone and len(leaf.sharding.device_set) == 1
            return leaf if here else jax.device_put(on_host(leaf), device)

        self._params = nest((s.path, local(get(params, s.path))) for s in specs)
        for width in self._widths:
            self._programs[width] = self._compile_audio(width)
        if self._row:
            self._programs[0] = self._compile_vision()

    def fill(self, inputs: PromptInputs, shown: Shown, clips: Sequence[Clip], parts: int) -> PromptInputs:
        """The inputs with the states of their clips. parts: shards that these inputs consist of."""
        states = {"audio": inputs.states.audio, "vision": inputs.states.vision}
        for clip, rows in zip(clips, media_rows(self._config, inputs, parts), strict=False):
            video, audio = shown.shows(clip)
            for tower, there in (("audio", audio), ("vision", video)):
                if there:
                    states[tower][rows[tower]] = self._states(tower, clip)
        return inputs.replace(states=TowerStates(**states))

    def summary(self) -> str:
        """What was read and made so far, in one line; "" where nothing is kept."""
        store = self.store
        if store is None or not (store.read or store.made):
            return ""
        line = f"encodings of frozen towers: {store.read} read, {store.made} made, in {store.directory}"
        return f"warning: {line}; {store.damaged} were damaged and made again" if store.damaged else line

    def _states(self, tower: str, clip: Clip) -> np.ndarray:
        media = np.ascontiguousarray(clip.mel if tower == "audio" else clip.frames)
        with self._lock:  # loaders with several threads share it
            if self.store is None:
                return self._encode(tower, media)
            described = f"{self._names[tower]} {media.dtype} {media.shape} "
            key = hashlib.sha256(described.encode() + media.data).hexdigest()
            if (found := self.store.get(key, self._shape(tower, media), jnp.dtype(self.dtype))) is None:
                found = self._encode(tower, media)
                self.store.put(key, found)
            return found

    def _encode(self, tower: str, media: np.ndarray) -> np.ndarray:
        parts = self._audio(media) if tower == "audio" else self._vision(media)
        return np.concatenate(list(parts)).reshape(self._shape(tower, media))

    def _shape(self, tower: str, media: np.ndarray) -> tuple[int, ...]:
        if tower == "audio":
            return num_audio_tokens(len(media)), self._config.audio.d_model
        c, patches = self._config.vision, int(np.prod(self._grid(media.shape[:3])))
        return patches // c.spatial_merge_size**2, state_block(c), c.hidden_size

    def _grid(self, size: tuple[int, ...]) -> tuple[int, int, int]:
        """Temporal patches, rows and columns of frames, their height and width."""
        return self._config.vision.grid(*size)

    def _audio(self, mel: np.ndarray) -> Iterator[np.ndarray]:
        """The states of all tokens: pairs of the chunks' states, averaged over the whole audio."""
        size, bins = 2 * self._config.audio.n_window, self._config.audio.num_mel_bins
        found = []
        for start in range(0, len(mel), size):
            piece = mel[start : start + size]
            chunk = np.zeros((1, self._pieces(len(piece))[0], bins), np.float32)
            chunk[0, : len(piece)] = piece
            states = self._run(chunk.shape[1], "audio", chunk, np.array([len(piece)], np.int32))
            found.append(states[0, : (len(piece) - 1) // 2 + 1])
        pairs = np.concatenate(found)[: 2 * num_audio_tokens(len(mel))]
        yield (pairs[0::2] + pairs[1::2]) / np.asarray(2, pairs.dtype)

    def _vision(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        """The states of one temporal patch after the other."""
        visual = patchify(self._config, frames, mean=self._stats.image_mean, std=self._stats.image_std)
        size, row = visual.grid.h * visual.grid.w, self._row
        places, windows = frame_layout(self._config, visual.grid)
        hw, frame, window = (
            np.zeros((1, row, 2), np.int32),
            np.full((1, row), -1, np.int32),
            np.full((1, row), -1, np.int32),
        )
        hw[0, :size], frame[0, :size], window[0, :size] = places, 0, windows
        for t in range(visual.grid.t):
            patches = np.zeros((1, row, visual.patches.shape[1]), np.float32)
            patches[0, :size] = visual.patches[t * size : (t + 1) * size]
            states = self._run(0, "vision", patches, hw, frame, window)
            yield states[: size // self._config.vision.spatial_merge_size**2]

    def _run(self, program: int, tower: str, *media: np.ndarray) -> np.ndarray:
        """What a program makes of host arrays, which are told to go to the device: a loop that forbids what is not told
        may ask for it."""
        device = jax.local_devices()[0]
        return jax.device_get(self._programs[program](self._params[tower], *jax.device_put(media, device)))

    def _compile_audio(self, width: int) -> Callable[..., jax.Array]:
        """(parameters, chunk [1, width, bins], length [1]) -> its states."""
        config, params = self._config.audio, self._params["audio"]
        chunk = np.zeros((1, width, config.num_mel_bins), np.float32)
        run = jax.jit(lambda params, *media: encode_chunks(params, None, config, *media))
        return run.lower(params, chunk, np.zeros(1, np.int32)).compile()

    def _compile_vision(self) -> Callable[..., jax.Array]:
        """(parameters, patches [1, L, patch_dim], their places, frame, window) -> the states of a temporal patch."""
        config, params = self._config.vision, self._params["vision"]
        patches, segment = np.zeros((1, self._row, config.patch_dim), np.float32), np.zeros((1, self._row), np.int32)
        run = jax.jit(lambda params, *media: vision_states(params, None, config, *media))
        return run.lower(params, patches, np.zeros((1, self._row, 2), np.int32), segment, segment).compile()

    def _pieces(self, frames: int) -> list[int]:
        """Mel frames that each piece of a sound is padded to: a quarter of a chunk, a half, or all of it."""
        size = 2 * self._config.audio.n_window
        widths = [-(-size // part // 4) * 4 for part in (4, 2, 1)]
        return [next(w for w in widths if w >= min(size, frames - start)) for start in range(0, frames, size)]

    @functools.cached_property
    def _names(self) -> dict[str, str]:
        """Tower -> a hash of its weights and settings, and of what computes with them."""
        names, device = {}, jax.local_devices()[0]
        for tower in self._params:
            weights = hashlib.sha256()
            for path, leaf in jax.tree_util.tree_leaves_with_path(self._params[tower]):
                weights.update(f"{jax.tree_util.keystr(path)} {leaf.shape}".encode() + jax.device_get(leaf).tobytes())
            computed = [self.dtype, jax.__version__, device.platform, device.device_kind]
            pixels = [list(self._stats.image_mean), list(self._stats.image_std), self._row] if tower == "vision" else []
            names[tower] = digest([weights.hexdigest(), asdict(getattr(self._config, tower)), *computed, *pixels])
        return names


def open_encoder(
    checkpoint: Checkpoint,
    entries: Sequence[Entry],
    modalities: Collection[str],
    *,
    dtype: str,
    options: EncodingOptions,
    workdir: Path,
    adapter: Adapter | None = None,
) -> TowerEncoder | None:
    """The encoder of some clips; None where nothing is frozen that could encode them.

    adapter: what is trained over the policy, or lies over it (of arrays or ShapeDtypeStructs)."""
    if not {"audio", "video"} & set(modalities) or (adapter is not None and not keeps_states(adapter)):
        return None
    directory = Path(options.path) if options.path else workdir / "encodings"
    store = EncodingStore(directory, int(options.max_gb * 1e9)) if options.max_gb else None
    return TowerEncoder(checkpoint, dtype, entries, modalities, store)
