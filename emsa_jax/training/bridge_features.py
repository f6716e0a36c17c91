"""What frozen encoders make of clips and captions, computed once and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emsa_jax import manifest
from emsa_jax.config.edge import digest
from emsa_jax.data.media.container import Broken
from emsa_jax.data.pairs import Pair
from emsa_jax.errors import InputError
from emsa_jax.policy.checkpoint import fingerprint
from emsa_jax.policy.thinker_config import BridgeConfig
from emsa_jax.runtime.console import progress
from emsa_jax.training.bridge_encoders import caption_encoder, clip_encoder, encoder_config
from emsa_jax.training.bridge_options import BridgesOptions

ARRAYS = ("states", "valid", "captions")


@dataclass(frozen=True)
class PairFeatures:
    """Arrays of N pairs, which may lie on disk.

    Attributes:
      states: [N, T, hidden_size] float32; valid: [N, T] bool.
      captions: [N, text_size] float32.
      digest: stands for what they were made of.
    """

    states: np.ndarray
    valid: np.ndarray
    captions: np.ndarray
    digest: str

    def take(self, rows: np.ndarray | Sequence[int]) -> PairFeatures:
        """Some of the pairs, in memory."""
        return replace(self, **{name: np.asarray(getattr(self, name)[rows]) for name in ARRAYS})


def bridge_config(options: BridgesOptions, text_size: int) -> BridgeConfig:
    """The bridge that fits the encoder. Raises: InputError for an encoder of another kind."""
    return BridgeConfig.after(
        encoder_config(options),
        num_hidden_layers=options.layers,
        positions=options.frames if options.kind == "vecb" else 0,
        output_size=options.output_size,
        text_size=text_size,
    )


def encode_pairs(pairs: Sequence[Pair], options: BridgesOptions, directory: Path) -> PairFeatures:
    """The features of pairs, read from `directory` where it holds them already.

    Raises: InputError naming a clip that cannot be read, or a directory that is no such encoder.
    """
    captions = options.text_encoder or options.encoder
    settings = [options.kind, options.frames, options.seconds, fingerprint(options.encoder), fingerprint(captions)]
    asked = digest([settings, [[p.id, manifest.sha256_file(p.path), p.caption] for p in pairs]])
    place = directory / f"features-{asked[:16]}"
    if not place.exists():
        with manifest.staged(place, {"asked": asked}) as part:
            _encode(pairs, options, captions, part)
    manifest.require_sound(place)
    return PairFeatures(**{name: np.load(place / f"{name}.npy", mmap_mode="r") for name in ARRAYS}, digest=asked)


def _encode(pairs: Sequence[Pair], options: BridgesOptions, captions: str, part: Path) -> None:
    """Writes the arrays, clip after clip: all together may be larger than the memory."""
    encoder = clip_encoder(options)
    np.save(part / "captions.npy", caption_encoder(captions)([pair.caption for pair in pairs]))
    shape, make = (len(pairs), encoder.places), np.lib.format.open_memmap
    states = make(part / "states.npy", "w+", np.float32, (*shape, encoder.width))
    valid = make(part / "valid.npy", "w+", bool, shape)
    with progress(len(pairs), "encoding clips") as advance:
        for row, pair in enumerate(pairs):
            try:
                found = encoder.encode(pair.path)
            except Broken as error:
                raise InputError(f"clip {pair.id!r}: {error}") from error
            states[row, : len(found)], valid[row, : len(found)] = found, True
            advance()
    states.flush()
    valid.flush()
