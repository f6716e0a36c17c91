"""Safetensors files: the tensors of a directory, and parts of a tensor read straight from their place in a file."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from emsa_jax.errors import InputError
from emsa_jax.json_file import read_object
from emsa_jax.policy.finite import all_finite

log = logging.getLogger(__name__)
PIECE = 10**6  # values that are held beside the tensor at a time


def tensor_files(directory: str | Path) -> dict[str, Path]:
    """Tensor name -> file, for one `model.safetensors` or shards with an index.

    An index whose shards are all gone is left aside with a warning where `model.safetensors` is there.
    Raises: InputError naming the file: no weights, two sets of them, an index that does not fit its shards.
    """
    directory = Path(directory)
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if index.exists():
        weight_map = _weight_map(index)
        shards = set(weight_map.values()) - {single.name}
        present = sorted(name for name in shards if (directory / name).exists())
        if single.exists() and shards and present:
            raise InputError(
                f"{directory}: two sets of weights, {single.name} and the shards of {index.name} ({present[0]}, ...); "
                "remove the one that is not meant"
            )
        if not (single.exists() and shards):
            return _indexed(directory, index.name, weight_map)
        log.warning(f"{index}: none of its files is there; {single.name} is read, and the index is not")
    if not single.exists():
        raise InputError(
            f"{directory}: neither model.safetensors nor model.safetensors.index.json is there" + _others(directory)
        )
    with open_tensors(single) as file:
        return dict.fromkeys(file.keys(), single)


def _weight_map(index: Path) -> dict[str, str]:
    """Tensor name -> name of its shard, which is a plain name in the directory of the index."""
    try:
        weight_map = (read_object(index) or {})["weight_map"]
        sound = bool(weight_map) and all(isinstance(file, str) for file in weight_map.values())
    except (InputError, KeyError, AttributeError) as error:
        raise InputError(f"{index}: no readable weight_map") from error
    if not sound:
        raise InputError(f"{index}: no readable weight_map")
    for file in weight_map.values():
        if Path(file).name != file or not file.endswith(".safetensors"):
            raise InputError(f"{index}: {file!r} is no safetensors file of this directory")
    return weight_map


def _indexed(directory: Path, index: str, weight_map: dict[str, str]) -> dict[str, Path]:
    """Tensor name -> file, each shard holding what the index says and nothing else."""
    for shard in sorted(set(weight_map.values())):
        if not (directory / shard).exists():
            raise InputError(f"{directory / shard}: not a readable safetensors file (missing, but {index} names it)")
        with open_tensors(directory / shard) as file:
            for name in file.keys():
                if (meant := weight_map.get(name)) != shard:
                    where = f"in {meant}" if meant else "nowhere"
                    raise InputError(f"{directory / shard}: holds {name}, which {index} places {where}")
    return {name: directory / shard for name, shard in weight_map.items()}


def _others(directory: Path) -> str:
    """What to do about weights in formats that are not read."""
    for pattern in ("*.bin", "*.pt", "*.pth", "*.gguf", "*.h5", "*.msgpack"):
        if found := sorted(directory.glob(pattern)):
            return f"; {found[0].name} is not read: save the model as safetensors"
    return ""


def has_weights(directory: str | Path) -> bool:
    """Whether a directory holds safetensors, in one file or shards."""
    return any((Path(directory) / name).exists() for name in ("model.safetensors", "model.safetensors.index.json"))


def open_tensors(path: Path) -> safe_open:
    """A safetensors file, opened for NumPy. Raises: InputError naming it, where it is not one."""
    try:
        return safe_open(path, "numpy")
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error


def tensor_layout(path: Path) -> dict[str, tuple[str, tuple[int, ...], int]]:
    """Tensor name -> (type, shape, first byte) of a file, whose header and length the library has checked."""
    with open_tensors(path), open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    return {name: (x["dtype"], tuple(x["shape"]), 8 + size + x["data_offsets"][0]) for name, x in header.items()}


def write_tensors(tensors: dict[str, np.ndarray], path: Path) -> None:
    """Writes a safetensors file.

    Raises: OSError, also where the disk is full; InputError for a tensor with numbers that are not finite."""
    for name, tensor in tensors.items():
        if not all_finite(tensor):
            raise InputError(
                f"{str(path.parent).removesuffix('.part')}: not written, since {name} holds numbers that are not "
                "finite, or not as bfloat16"
            )
    path.touch()  # as readable as other files are; the library gives it to its owner alone
    readable = path.stat().st_mode
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(readable)


@dataclass(frozen=True)
class Box:
    """Rows and columns, (first, end), of a tensor's first two dimensions, and who wants them."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    tensor: tuple[int, ...]
    devices: tuple[Any, ...]

    @classmethod
    def of(cls, index: Sequence[slice], tensor: tuple[int, ...], devices: tuple[Any, ...]) -> Box:
        """From an index into the tensor, which leaves all dimensions but the first two whole."""
        bounds = [s.indices(size)[:2] for s, size in zip(index, tensor, strict=True)]
        if any(bound != (0, size) for bound, size in zip(bounds[2:], tensor[2:], strict=True)):
            raise ValueError(f"a tensor of shape {tensor} is cut in a dimension behind the second: {tuple(index)}")
        rows, columns = (*bounds[:2], (0, 1), (0, 1))[:2]  # a vector has one column, a number one row too
        return cls(rows, columns, tensor, devices)

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = (self.rows[1] - self.rows[0], self.columns[1] - self.columns[0])
        return sizes[: min(len(self.tensor), 2)] + self.tensor[2:]


def read_boxes(
    file: BinaryIO,
    offset: int,
    shape: tuple[int, ...],
    stored: np.dtype,
    boxes: Sequence[Box],
    places: Sequence[np.ndarray],
    what: str,
) -> None:
    """Reads boxes of a tensor of `shape`, which a file holds from byte `offset` on as `stored`, into `places`.

    Boxes with the same rows are read together: whole rows where their columns are all there are, else the columns from
    the first to the last of them, row by row. Raises InputError, naming `what`, if the file ends too soon, or holds
    numbers that are not finite in the type of `places`.
    """
    with np.errstate(over="ignore"):  # what overflows is named below
        _read_boxes(file, offset, shape, stored, boxes, places, what)
    for place in places:
        if not all_finite(place):
            raise InputError(
                f"{what} holds numbers that are not finite, or not as {place.dtype.name} or bfloat16; restore the file "
                "from a sound copy"
            )


def _read_boxes(
    file: BinaryIO,
    offset: int,
    shape: tuple[int, ...],
    stored: np.dtype,
    boxes: Sequence[Box],
    places: Sequence[np.ndarray],
    what: str,
) -> None:
    width, rest = math.prod(shape[1:2]), math.prod(shape[2:])
    for rows in dict.fromkeys(box.rows for box in boxes):
        found = [
            (box, place.reshape(box.rows[1] - box.rows[0], -1, rest))
            for box, place in zip(boxes, places, strict=True)
            if box.rows == rows
        ]
        low, high = min(box.columns[0] for box, _ in found), max(box.columns[1] for box, _ in found)
        if len(found) == 1 and stored == found[0][1].dtype and (low, high) == (0, width):
            file.seek(offset + rows[0] * width * rest * stored.itemsize)
            _fill(file, found[0][1], what)
            continue
        for first, block in _blocks(file, offset, rows, (low, high), (width, rest), stored, what):
            for box, place in found:
                columns = slice(box.columns[0] - low, box.columns[1] - low)
                place[first - rows[0] : first - rows[0] + len(block)] = block[:, columns]


def _blocks(
    file: BinaryIO,
    offset: int,
    rows: tuple[int, int],
    columns: tuple[int, int],
    sizes: tuple[int, int],
    stored: np.dtype,
    what: str,
) -> Iterator[tuple[int, np.ndarray]]:
    """(first row, [rows, columns, rest]) block by block."""
    (low, high), (width, rest) = columns, sizes
    many = max(PIECE // ((high - low) * rest), 1)
    for first in range(*rows, many):
        block = np.empty((min(many, rows[1] - first), high - low, rest), stored)
        places = [block] if (low, high) == (0, width) else list(block)
        for i, place in enumerate(places):
            file.seek(offset + ((first + i) * width + low) * rest * stored.itemsize)
            _fill(file, place, what)
        yield first, block


def _fill(file: BinaryIO, place: np.ndarray, what: str) -> None:
    values = place.reshape(-1).view(np.uint8)
    if file.readinto(values) != values.nbytes:
        raise InputError(f"{what} cannot be read: the file ends in it")
