"""Several data sets as one: which clip comes when.

A mixture numbers the records of its parts one after the other, and each part is dealt from an endless deck: all of
its clips in a random order, then all of them in another. A part that runs out therefore begins again while larger
ones are still on their first pass; none of its clips comes twice before each has come once.

Clips keep the score, language and id of their own set: ranges differ (CH-SIMS [-1, 1], MOSI [-3, 3]) and ids may
clash (CH-SIMS lies within its second version). So whoever builds prompts or answers asks `batch_order.parts_at` which
part each row of a step comes from, and uses that set's score range and (part, id) as the key.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Any

import numpy as np

from emsa_jax.errors import InputError


@dataclass(frozen=True)
class Part:
    """One data set of a mixture.

    weight: its share of the clips is weight / sum of weights; the number of records itself gives shares in
    proportion to size. digest: of its prepared records (`Manifest.digest`), so that a plan's hash holds the data.
    """

    name: str
    num_records: int
    weight: float
    digest: str


def epoch_size(parts: Sequence[Part], batch_size: int) -> int:
    """Clips in an epoch of a mixture: as many full batches as all records would fill, one at least.

    Raises InputError for an empty part, a weight that is no positive number, or one so small that an epoch could
    do without the part.
    """
    for part in parts:
        if part.num_records < 1:
            raise InputError(f"{part.name} has no clips to mix in; leave it out")
        if not (math.isfinite(part.weight) and part.weight > 0):
            raise InputError(f"the weight of {part.name} is {part.weight:g}; it must be positive")
    count = max(1, sum(part.num_records for part in parts) // batch_size) * batch_size
    whole = sum(_exactly(part.weight) for part in parts)
    for part in parts:
        if count * _exactly(part.weight) < whole:
            raise InputError(
                f"the weight of {part.name} gives it less than one of the {count} clips of an epoch; "
                "raise it or leave the set out"
            )
    return count


def shares(weights: Sequence[float], total: int) -> list[int]:
    """How many of the first `total` clips come from each part: exactly `total` together, and each always within one
    clip of its weight's share, so that proportions are exact in the long run."""
    cumulated = list(accumulate(map(_exactly, weights)))
    edges = [0] + [int(total * c // cumulated[-1]) for c in cumulated]
    return [high - low for low, high in zip(edges, edges[1:], strict=False)]


def draw(parts: Sequence[Part], seed: int, epoch: int, count: int) -> np.ndarray:
    """int64 [count]: the records dealt in an epoch of `count` clips, part by part. A pure function."""
    weights = [part.weight for part in parts]
    begin, end = shares(weights, epoch * count), shares(weights, (epoch + 1) * count)
    first, dealt = 0, []
    for number, part in enumerate(parts):
        dealt.append(first + _deck(part.num_records, begin[number], end[number], seed, number))
        first += part.num_records
    return np.concatenate(dealt)


def part_of(parts: Sequence[Part], records: np.ndarray) -> np.ndarray:
    """int64, as `records`: the part that each record belongs to; -1 stays -1."""
    ends = np.cumsum([part.num_records for part in parts])
    return np.where(records < 0, -1, np.searchsorted(ends, records, side="right"))


class Mixed:
    """Random access to the records of several sources, numbered as a mixture numbers them."""

    def __init__(self, sources: Sequence[Any]) -> None:
        self._sources = list(sources)
        self._starts = [0, *accumulate(map(len, self._sources))]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect_right(self._starts, index) - 1
        return self._sources[part][int(index) - self._starts[part]]


def _exactly(weight: float) -> Fraction:
    """0.7 as seven tenths, as it was meant: no rounding adds up over a long run."""
    return Fraction(str(float(weight)))


def _deck(size: int, begin: int, end: int, seed: int, number: int) -> np.ndarray:
    """Positions [begin, end) of a part's endless sequence of permutations."""
    passes = range(begin // size, -(-end // size))
    # number + 1, as NumPy takes (seed, pass) and (seed, pass, 0) for the same seed, and epochs use the former
    orders = [np.random.default_rng((seed, done, number + 1)).permutation(size) for done in passes]
    dealt = np.concatenate([np.zeros(0, np.int64), *orders])
    return dealt[begin - passes.start * size :][: end - begin]
