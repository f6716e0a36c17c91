"""Recorded outputs of other implementations, and how ours are compared with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class Goldens:
    """The arrays of a case; remembers which of them were asked for."""

    def __init__(self, folder: Path, index: dict, minilm: Path | None = None):
        self.minilm = minilm
        self.folder, self.notes, self.tolerance = folder, index["notes"], float(index["tolerance"])
        self.arrays, self.seen = dict(np.load(folder / "goldens.npz")), set()

    def __getitem__(self, name: str) -> np.ndarray:
        self.seen.add(name)
        return self.arrays[name]

    def unseen(self) -> list[str]:
        """Arrays that nothing was compared with."""
        return sorted(set(self.arrays) - self.seen)


@dataclass
class Result:
    """difference: the largest, or words where there is none; limit: the largest that passes."""

    case: str
    what: str
    difference: float | str
    limit: float = 0.0

    @property
    def failed(self) -> bool:
        return isinstance(self.difference, str) or not self.difference <= self.limit


@dataclass
class Compared:
    """One output: ours, theirs, and where they count (a mask over the leading axes)."""

    what: str
    ours: np.ndarray
    theirs: np.ndarray
    where: np.ndarray | None = None
    exact: bool = False
    tolerance: float | None = None  # of its own, a part of the largest value of theirs

    def result(self, case: str, tolerance: float) -> Result:
        ours, theirs = np.asarray(self.ours), np.asarray(self.theirs)
        if ours.shape != theirs.shape:
            return Result(case, self.what, f"shape {list(ours.shape)} for {list(theirs.shape)}")
        if self.where is not None:
            ours, theirs = ours[self.where], theirs[self.where]
        difference = float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max())
        largest = float(np.abs(theirs).max())
        limit = tolerance * max(1.0, largest) if self.tolerance is None else self.tolerance * largest
        return Result(case, self.what, difference, 0.0 if self.exact else limit)


KNOWN: dict[str, Callable[[Goldens], Iterator[Compared]]] = {}


def compares(*names: str):
    """Registers the comparison of cases by their names."""
    return lambda function: KNOWN.update(dict.fromkeys(names, function)) or function


def patches(pixels: np.ndarray, size: int) -> np.ndarray:
    """[F, 3, H, W] -> [F, patches, 3 * size * size], row by row."""
    f, c, h, w = pixels.shape
    cut = pixels.reshape(f, c, h // size, size, w // size, size)
    return cut.transpose(0, 2, 4, 1, 3, 5).reshape(f, -1, c * size * size)
