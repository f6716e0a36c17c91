"""Clips out of any set of tensorflow-datasets (TFDS): its text, audio or video and its label, as the policy reads them.

    source = tfds.data_source("name", split="train")
    clips = TfdsClips(source, split="train", score_range=(-3.0, 3.0))
    for step, batch in emsa_jax.data.pipeline.batches(clips, plan): ...       # Grain reads them ahead

TFDS is an extra of its own (`pip install emsa_jax[tfds]`), which only those import who use this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from emsa_jax.data.data_options import MIN_PIXELS, PrepareOptions
from emsa_jax.data.encode import NO_FRAMES, sampling_of
from emsa_jax.data.media import Frames
from emsa_jax.data.media.sound import at_sample_rate
from emsa_jax.data.mel import log_mel
from emsa_jax.data.records import Clip
from emsa_jax.data.resize import resize, smart_resize
from emsa_jax.data.sample import SPLITS
from emsa_jax.errors import InputError

PLAIN = ("id", "language", "speaker", "reasoning", "frame_rate")  # which are taken where a feature has this name


@dataclass(frozen=True, kw_only=True)
class TfdsFields:
    """Which feature is what, by name. "": the only one of its kind: a Text that is none of `PLAIN`; an Audio; a Video,
    or a sequence of images; a number in floating point, the score; a ClassLabel, the label."""

    text: str = ""
    audio: str = ""
    video: str = ""
    score: str = ""
    label: str = ""


class TfdsClips(Sequence[Clip]):
    """The clips of one split. Items are decoded when they are asked for.

    Args:
      source: what `tfds.data_source` gives: items by number, and `dataset_info`.
      split: one of train, valid, test: what the clips are for.
      score_range: lowest and highest legal score.
      names: of the features.
      options: how frames are sampled and sized, as when a data set is prepared.
      language: of clips without a feature `language`.
      frame_rate: frames a second, where no feature says so.

    Raises: InputError naming the feature, for a set without text, audio, video or label, or with several of a kind; for
    an item, naming its id, if a score lies outside of the range or nothing says how fast its frames follow each other.
    """

    def __init__(
        self,
        source: Any,
        *,
        split: str,
        score_range: tuple[float, float],
        names: TfdsFields | None = None,
        options: PrepareOptions | None = None,
        language: str = "en",
        frame_rate: float = 0.0,
    ) -> None:
        if split not in SPLITS:
            raise InputError(f"split {split!r} is none of {', '.join(SPLITS)}")
        self._source, self._split, self._range = source, split, score_range
        self._options, self._language, self._rate = options or PrepareOptions(), language, frame_rate
        self._set, self._features = source.dataset_info.full_name, source.dataset_info.features
        self._names = find_fields(self._features, names or TfdsFields(), self._set)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Clip:
        if not 0 <= index < len(self):
            raise IndexError(index)
        row, names = self._source[int(index)], self._names
        id = _text(row["id"]) if "id" in row else f"{self._split}-{int(index):06d}"
        frames = self._frames(row, id) if names.video else NO_FRAMES
        sound = self._sound(row[names.audio]) if names.audio else np.zeros(0, np.float32)
        return Clip(
            id=id,
            text=_text(row[names.text]) if names.text else "",
            score=self._score(row, id),
            split=self._split,
            language=_text(row.get("language", "")) or self._language,
            frames=frames.images,
            frame_rate=frames.rate,
            mel=log_mel(sound),
            label=self._label(row),
            speaker=_text(row.get("speaker", "")),
            reasoning=_text(row.get("reasoning", "")),
        )

    def _score(self, row: Mapping[str, Any], id: str) -> float | None:
        score = float(row[self._names.score]) if self._names.score else np.nan
        if np.isnan(score):
            return None
        if not self._range[0] <= score <= self._range[1]:
            raise InputError(f"{self._set}: {id!r}: score {score:g} is outside {list(self._range)}; name its range")
        return score

    def _label(self, row: Mapping[str, Any]) -> str:
        number = int(row[self._names.label]) if self._names.label else -1
        return self._features[self._names.label].int2str(number) if number >= 0 else ""

    def _frames(self, row: Mapping[str, Any], id: str) -> Frames:
        images = row[self._names.video]
        if not len(images):
            return NO_FRAMES
        rate = float(row.get("frame_rate", 0.0)) or self._rate
        if not rate > 0:
            raise InputError(f"{self._set}: {id!r}: no feature frame_rate says how fast its frames follow; give one")
        seconds = len(images) / rate
        shown = sampling_of(self._options)(len(images), seconds)
        size = smart_resize(*images[0].shape[:2], min_pixels=MIN_PIXELS, max_pixels=self._options.max_pixels)
        return Frames(np.stack([resize(np.asarray(images[i]), *size) for i in shown]), len(shown) / seconds)

    def _sound(self, samples: np.ndarray) -> np.ndarray:
        """float32 [n] at 16 kHz of samples [n] or [n, channels]; integers are of 16 bits, whatever holds them."""
        samples = np.asarray(samples)
        waveform = samples.astype(np.float32) / (32768.0 if np.issubdtype(samples.dtype, np.integer) else 1.0)
        waveform = waveform.mean(axis=1) if waveform.ndim == 2 else waveform
        rate = self._features[self._names.audio].sample_rate
        if not rate:
            raise InputError(f"{self._set}: its feature {self._names.audio} has no sample_rate")
        return at_sample_rate(waveform, rate)


def find_fields(features: Mapping[str, Any], given: TfdsFields, name: str) -> TfdsFields:
    """The features of a set that hold text, audio, video, score and label; "" for what it has not.

    Raises InputError for a name that it does not have, for several of a kind, and if it has no media or no label."""
    found = {}
    for field in fields(TfdsFields):
        alike = [key for key, feature in features.items() if key not in PLAIN and _kind(feature) == field.name]
        asked = getattr(given, field.name)
        if asked and asked not in features:
            raise InputError(f"{name}: has no feature {asked!r} ({field.name}); it has {', '.join(features)}")
        if not asked and len(alike) > 1:
            raise InputError(f"{name}: {', '.join(alike)} are all {field.name}; say which in names.{field.name}")
        found[field.name] = asked or next(iter(alike), "")
    if not any(found[kind] for kind in ("text", "audio", "video")):
        raise InputError(f"{name}: none of {', '.join(features)} is text, audio or video")
    if not any(found[kind] for kind in ("score", "label")):
        raise InputError(f"{name}: none of {', '.join(features)} is a label: a ClassLabel, or a number for the score")
    return TfdsFields(**found)


def _kind(feature: Any) -> str:
    """The field of `TfdsFields` that a feature can be, "" for none."""
    import tensorflow_datasets as tfds

    kinds = {"text": tfds.features.Text, "audio": tfds.features.Audio, "label": tfds.features.ClassLabel}
    if kind := next((kind for kind, type_ in kinds.items() if isinstance(feature, type_)), ""):
        return kind
    if isinstance(feature, tfds.features.Sequence):  # a Video is one
        return "video" if isinstance(feature.feature, tfds.features.Image) else ""
    number = isinstance(feature, tfds.features.Tensor) and feature.shape == ()
    return "score" if number and np.issubdtype(feature.np_dtype, np.floating) else ""


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
