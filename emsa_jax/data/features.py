"""The feature files of MMSA (aligned_50.pkl, unaligned_39.pkl, ...): arrays made by others, for feature baselines.

A file is {"train", "valid", "test"} of {"id", "raw_text", "text", "text_bert", "audio", "vision",
"regression_labels", ...}. Sizes are taken from the arrays alone; published configs state others.
"""

import mmap
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from emsa_jax.data import array_pickle
from emsa_jax.errors import InputError

PARTS = ("train", "valid", "test", "train_mix")  # the last: CH-SIMS v2 with its unlabelled clips


@dataclass(frozen=True, eq=False)
class Features:
    """One part of a feature file, N utterances; names as in the file. Arrays may be read-only.

    Float features are zero padded (in some files at the front) and finite. Where a file gives no lengths (aligned
    ones have none) or no labels of single modalities, they are None.
    """

    id: tuple[str, ...]  # <video_id>$_$<clip_id>
    raw_text: tuple[str, ...] | None
    text: np.ndarray  # float32 [N, L, D]
    text_bert: np.ndarray | None  # int32 [N, 3, L]: input ids, attention mask, token types
    audio: np.ndarray  # float32 [N, T, D]
    vision: np.ndarray  # float32 [N, T, D]
    audio_lengths: np.ndarray | None  # int32 [N], at most T
    vision_lengths: np.ndarray | None  # int32 [N], at most T
    regression_labels: np.ndarray  # float32 [N], NaN for those that `mask` calls unlabelled
    regression_labels_T: np.ndarray | None  # float32 [N]
    regression_labels_A: np.ndarray | None
    regression_labels_V: np.ndarray | None
    annotations: tuple[str, ...] | None
    unread: tuple[str, ...]  # keys of the file that are not read
    replaced: dict[str, int]  # how many numbers of "text", "audio" and "vision" were infinite or NaN, and are 0

    def __len__(self) -> int:
        return len(self.id)


def read_features(path: str | Path) -> dict[str, Features]:
    """The parts of a feature file, read without running anything in it (see array_pickle.py).

    Infinite features and NaN become 0; the public loaders do so to -inf in audio alone, and give the rest to their
    models. Raises InputError, naming file, part and key, where the file is damaged, asks for code, misses a key,
    disagrees with itself, or holds a label that is not finite.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            loaded = array_pickle.load(content)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (OSError, ValueError) as error:  # ValueError: nothing to map
        reason = error.strerror if isinstance(error, OSError) else "it is empty"
        raise InputError(f"{path} cannot be read: {reason}") from error
    if not isinstance(loaded, dict) or not loaded.keys() & set(PARTS):
        raise InputError(f"{path} holds none of {', '.join(PARTS)}; it is no feature file of MMSA")
    if unknown := sorted(loaded.keys() - set(PARTS)):
        raise InputError(f"{path} holds a part {unknown[0][:50]!r}; expected {', '.join(PARTS)}")
    return {name: _part(f"{path}: {name}", loaded[name]) for name in PARTS if name in loaded}


def _part(where: str, part: Any) -> Features:
    if not isinstance(part, dict):
        raise InputError(f"{where} is no dict of arrays")

    def read(key: str, convert: Callable, *arguments: Any, required: bool = False) -> Any:
        value = part.get(key)
        if value is None and required:
            raise InputError(f"{where} has no {key!r}")
        value = value.value if isinstance(value, array_pickle.Array) else value
        return None if value is None else convert(f"{where}: {key}", value, *arguments)

    ids = read("id", _strings, None, required=True)
    if not all(ids):
        raise InputError(f"{where}: row {ids.index('')} has no id")
    n = len(ids)
    replaced: dict[str, int] = {}
    text, audio, vision = (
        read(key, _floats, (n, None, None), replaced, key, required=True) for key in ("text", "audio", "vision")
    )
    mask = read("mask", _numbers, (n,))
    labels = {
        f"regression_labels{end}": read(f"regression_labels{end}", _labels, ids, mask, required=not end)
        for end in ("", "_T", "_A", "_V")
    }
    return Features(
        id=ids,
        raw_text=read("raw_text", _strings, n),
        text=text,
        text_bert=read("text_bert", _integers, (n, 3, None)),
        audio=audio,
        vision=vision,
        audio_lengths=read("audio_lengths", _lengths, audio.shape[:2]),
        vision_lengths=read("vision_lengths", _lengths, vision.shape[:2]),
        annotations=read("annotations", _strings, n),
        unread=tuple(sorted(part.keys() - {field.name for field in fields(Features)} - {"mask"})),
        replaced=replaced,
        **labels,
    )


def _strings(where: str, value: Any, count: int | None) -> tuple[str, ...]:
    """A list, or an array of strings or objects, as strings; missing ones are ""."""
    if isinstance(value, np.ndarray):
        value = value.tolist() if value.ndim == 1 and value.dtype.kind in "US" else None
    try:
        value = array_pickle.strings(value if isinstance(value, list | tuple) else None)
    except (TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{where} is no list of strings") from error
    if count not in (None, len(value)):
        raise InputError(f"{where} has {len(value)} rows, but there are {count} ids")
    return value


def _numbers(where: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    """An array of numbers, or a list of them as float64; `shape` is what it must have, None where any size will do."""
    if isinstance(value, list) and all(isinstance(item, int | float) for item in value):
        try:
            value = np.array(value, np.float64)
        except OverflowError:
            value = None
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise InputError(f"{where} is no array of numbers")
    if len(value.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, value.shape, strict=True)):
        expected = str(list(shape)).replace("None", "any")
        raise InputError(f"{where} has shape {list(value.shape)}, expected {expected}")
    return value


def _floats(where: str, value: Any, shape: tuple[int | None, ...], replaced: dict[str, int], key: str) -> np.ndarray:
    """Finite float32; what was infinite or NaN is 0, and `replaced[key]` says how many numbers were."""
    value = _numbers(where, value, shape)
    with np.errstate(over="ignore"):
        array = value.astype(np.float32, copy=False)
    strange = ~np.isfinite(array)
    replaced[key] = int(strange.sum())
    if strange.any():
        void = ~np.isfinite(value)
        if (strange & ~void).any():
            raise InputError(f"{where} holds {value[strange & ~void][0]}, beyond what float32 can say")
        array = np.where(void, np.float32(0), array)
    return array


def _integers(where: str, value: Any, shape: tuple[int | None, ...]) -> np.ndarray:
    value = _numbers(where, value, shape)
    with np.errstate(invalid="ignore"):
        array = value.astype(np.int32)
    if (array != value).any():
        raise InputError(f"{where} holds {value[array != value][0]}, which is no integer of 32 bits")
    return array


def _lengths(where: str, value: Any, shape: tuple[int, int]) -> np.ndarray:
    array = _integers(where, value, shape[:1])
    if (array < 0).any():
        raise InputError(f"{where} holds {array.min()}; a length cannot be negative")
    return np.minimum(array, shape[1])


def _labels(where: str, value: Any, ids: tuple[str, ...], mask: np.ndarray | None) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = _numbers(where, value, (len(ids),)).astype(np.float32)
    if mask is not None:
        array[mask != 1] = np.nan
    strange = ~np.isfinite(array) & (True if mask is None else mask == 1)
    if strange.any():
        raise InputError(f"{where} of {ids[strange.argmax()]!r} is {array[strange][0]}; a label must be finite")
    return array
