"""One record: a clip's frames, log-mel, sound, words and labels as msgpack bytes."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from PIL import Image

from emsa_jax.data.data_options import JPEG_QUALITY, PrepareOptions
from emsa_jax.data.mel import MEL_BINS
from emsa_jax.data.sample import SPLITS, Sample
from emsa_jax.errors import InputError
from emsa_jax.json_file import misfit

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
_LABEL_FIELDS = {
    **dict.fromkeys(("id", "text", "label", "speaker", "reasoning", "source"), str),
    "score": (float, None),
    "split": SPLITS,
    "language": ("en", "zh"),
    "concepts": [[str, str]],
    "notes": [str],
    "frame_rate": float,
}
_ENTRY_FIELDS = _LABEL_FIELDS | dict.fromkeys(("num_frames", "height", "width", "mel_frames"), int)
_FIELDS = _LABEL_FIELDS | {
    "schema": int,
    "frames": (bytes, [bytes]),
    "frames_shape": [int, int, int, int],
    "mel": bytes,
    "pcm": bytes,
}
_SIDE = 28  # pixels, of which height and width are multiples
_RATES = 1e-6, 1e6  # frames a second
_MOST_PIXELS = 2**31  # of all frames of a clip together


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
        mel = np.frombuffer(content["mel"], "<f2").reshape(-1, MEL_BINS).astype(np.float32)
        if not np.isfinite(mel).all():
            raise ValueError("its spectrogram is not finite")
        frames = _frames(content["frames"], tuple(content["frames_shape"]))
    except (ValueError, OSError, SyntaxError, MemoryError, Image.DecompressionBombError) as error:
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
    content = _content(record)
    if len(content["pcm"]) % 2:
        raise InputError(f"the record of {content['id']!r} has half a sample of sound; prepare the data again")
    return np.frombuffer(content["pcm"], "<i2")


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
    """An Entry from its JSON object. Raises InputError for one that lacks a field, or has another or one of another
    kind."""
    wrong = misfit(row, _ENTRY_FIELDS, "") or _odd_frames(
        (row["num_frames"], row["height"], row["width"], 3), row["frame_rate"]
    )
    if wrong:
        raise InputError(f"an entry is damaged ({wrong}); prepare the data again")
    return Entry(**{**row, **_labels(row)})


def _labels(content: dict[str, Any]) -> dict[str, Any]:
    """The fields that come from the Sample, and the notes; as tuples what neither JSON nor msgpack has as such."""
    tuples = {"concepts": tuple(map(tuple, content["concepts"])), "notes": tuple(content["notes"])}
    return {**{name: content[name] for name in _LABELS}, **tuples}


def _content(record: bytes) -> dict[str, Any]:
    """The fields of a record, each of its kind. Raises InputError."""
    try:
        content = msgpack.unpackb(record)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise InputError(f"a record is not msgpack ({error}); prepare the data again") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise InputError(f"a record does not follow schema {SCHEMA}; prepare the data again")
    if wrong := misfit(content, _FIELDS, "") or _odd_frames(content["frames_shape"], content["frame_rate"]):
        raise InputError(f"the record of {content.get('id')!r:.80} is damaged ({wrong}); prepare the data again")
    return content


def _odd_frames(shape: Sequence[int], rate: float) -> str:
    """What cannot be of frames [F, H, W, 3] at a rate; "" where all can."""
    frames, height, width, channels = shape
    if channels != 3 or frames * height * width > _MOST_PIXELS:
        return f"frames of the shape {shape} cannot be"
    if height % _SIDE or width % _SIDE:
        return f"frames of {width} x {height} pixels are no multiples of {_SIDE}"
    return "" if rate == 0 or _RATES[0] <= rate <= _RATES[1] else f"{rate:g} frames a second cannot be"


def _frames(images: bytes | list[bytes], shape: tuple[int, int, int, int]) -> np.ndarray:
    """uint8 [F, H, W, 3]. Raises ValueError, and what PIL raises, where the images are not of that shape."""
    if isinstance(images, bytes):
        return np.frombuffer(images, np.uint8).reshape(shape)
    opened = [Image.open(io.BytesIO(image), formats=("JPEG",)) for image in images]
    if len(opened) != shape[0] or any((*image.size, image.mode) != (shape[2], shape[1], "RGB") for image in opened):
        raise ValueError(f"its frames are not of the shape {shape}")  # before there is room for all of them
    frames = np.empty(shape, np.uint8)
    for frame, image in zip(frames, opened, strict=True):
        frame[:] = np.asarray(image)
    return frames


def _jpeg(frame: np.ndarray, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "JPEG", quality=quality, subsampling=0)  # faces are small
    return buffer.getvalue()
