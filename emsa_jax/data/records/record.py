"""One record: a clip's frames, log-mel, sound, words and labels as msgpack bytes."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import msgpack
import numpy as np
from PIL import Image

from emsa_jax.data.data_options import JPEG_QUALITY, PrepareOptions
from emsa_jax.data.mel import MEL_BINS
from emsa_jax.data.sample import Sample
from emsa_jax.errors import InputError

SCHEMA = 2


@dataclass(frozen=True)
class Clip:
    """One decoded record, NumPy only."""

    id: str
    text: str
    score: float | None
    split: str
    language: str
    frames: np.ndarray  # uint8 [F, H, W, 3], F == 0 without video; H and W multiples of 28
    frame_rate: float  # sampled frames a second; 0.0 without video
    mel: np.ndarray  # float32 [T, 128], 100 frames a second, T == 0 without sound
    label: str = ""
    concepts: tuple[tuple[str, str], ...] = ()
    speaker: str = ""
    reasoning: str = ""
    notes: tuple[str, ...] = ()  # how it was read and decoded where that was not plain, and what is odd about it


@dataclass(frozen=True)
class Entry:
    """What can be known of a record without decoding it; enough to plan batches."""

    id: str
    text: str
    score: float | None
    split: str
    language: str
    num_frames: int
    height: int
    width: int
    frame_rate: float
    mel_frames: int
    label: str = ""
    concepts: tuple[tuple[str, str], ...] = ()
    speaker: str = ""
    reasoning: str = ""
    notes: tuple[str, ...] = ()
    source: str = ""  # sha256 of the media, "" without any

    @property
    def seconds(self) -> float:
        """How long picture or sound lasts, whichever is longer; 0.0 for words alone."""
        return max(self.num_frames / self.frame_rate if self.frame_rate else 0.0, self.mel_frames / 100)


_LABELS = ("id", "text", "score", "split", "language", "label", "concepts", "speaker", "reasoning")  # as in a Sample
_FIELDS = {"schema", *_LABELS, "notes", "frames", "frames_shape", "frame_rate", "mel", "pcm", "source"}


def pack(
    sample: Sample,
    frames: np.ndarray,
    frame_rate: float,
    mel: np.ndarray,
    pcm: np.ndarray,
    source: str,
    options: PrepareOptions,
    *,
    notes: Sequence[str] = (),
) -> bytes:
    """frames uint8 [F, H, W, 3], mel float [T, 128], pcm int16 [n] at 16 kHz mono -> msgpack bytes.

    source: sha256 of the media, "" without any. notes: what is to be said of the clip, each once.
    """
    if options.frame_format == "raw":
        images = frames.tobytes()
    else:
        images = [_jpeg(frame, JPEG_QUALITY) for frame in frames]
    return msgpack.packb(
        {
            "schema": SCHEMA,
            **{name: getattr(sample, name) for name in _LABELS},
            "notes": list(dict.fromkeys(notes)),
            "frames": images,
            "frames_shape": list(frames.shape),
            "frame_rate": float(frame_rate),
            "mel": mel.astype("<f2").tobytes(),
            "pcm": pcm.astype("<i2").tobytes(),
            "source": source,
        }
    )


def unpack(record: bytes) -> Clip:
    """msgpack bytes -> Clip. Raises InputError where the bytes are no record of this schema."""
    content = _content(record)
    try:
        shape = tuple(content["frames_shape"])
        images = content["frames"]
        if isinstance(images, bytes):
            frames = np.frombuffer(images, np.uint8).reshape(shape)
        else:
            frames = np.empty(shape, np.uint8)
            for frame, image in zip(frames, images, strict=True):
                frame[:] = np.asarray(Image.open(io.BytesIO(image)))
        mel = np.frombuffer(content["mel"], "<f2").reshape(-1, MEL_BINS).astype(np.float32)
        if not np.isfinite(mel).all():
            raise ValueError("its spectrogram is not finite")
    except (ValueError, TypeError, OSError) as error:
        what = f"the record of {content['id']!r} does not decode ({error})"
        raise InputError(f"{what}; prepare the data again") from error
    return Clip(**_labels(content), frames=frames, frame_rate=content["frame_rate"], mel=mel)


def unpack_jpegs(record: bytes, quality: int = 95) -> list[bytes]:
    """msgpack bytes -> the frames as JPEG files, as they were stored; those stored raw are encoded."""
    content = _content(record)
    if isinstance(content["frames"], bytes):
        return [_jpeg(frame, quality) for frame in unpack(record).frames]
    return content["frames"]


def unpack_pcm(record: bytes) -> np.ndarray:
    """msgpack bytes -> the sound as int16 [n], 16 kHz mono; n == 0 without sound."""
    return np.frombuffer(_content(record)["pcm"], "<i2")


def entry(record: bytes) -> Entry:
    """msgpack bytes -> Entry, without decoding any image."""
    content = _content(record)
    num_frames, height, width, _ = content["frames_shape"]
    return Entry(
        **_labels(content),
        num_frames=num_frames,
        height=height,
        width=width,
        frame_rate=content["frame_rate"],
        mel_frames=len(content["mel"]) // (2 * MEL_BINS),
        source=content["source"],
    )


def entry_of(row: dict[str, Any]) -> Entry:
    """An Entry from its JSON object. Raises InputError for one that lacks a field or has another."""
    if row.keys() != {field.name for field in fields(Entry)}:
        raise InputError(f"an entry has other fields than {SCHEMA = }; prepare the data again")
    return Entry(**{**row, **_labels(row)})


def _labels(content: dict[str, Any]) -> dict[str, Any]:
    """The fields that come from the Sample, and the notes; as tuples what neither JSON nor msgpack has as such. Raises
    InputError for a score or a frame rate that is not finite."""
    for name in ("score", "frame_rate"):
        if isinstance(content[name], float) and not math.isfinite(content[name]):
            raise InputError(f"the record of {content['id']!r} has the {name} {content[name]}; prepare the data again")
    tuples = {"concepts": tuple(map(tuple, content["concepts"])), "notes": tuple(content["notes"])}
    return {**{name: content[name] for name in _LABELS}, **tuples}


def _content(record: bytes) -> dict[str, Any]:
    try:
        content = msgpack.unpackb(record)
    except (ValueError, msgpack.UnpackException) as error:
        raise InputError(f"a record is not msgpack ({error}); prepare the data again") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not _FIELDS <= content.keys():
        raise InputError(f"a record does not follow schema {SCHEMA}; prepare the data again")
    return content


def _jpeg(frame: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality, subsampling=0)  # faces are small
    return buffer.getvalue()
