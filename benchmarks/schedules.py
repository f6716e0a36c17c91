"""Ways to put answers of different lengths into rows, and their seconds at known costs of a token."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Costs:
    """Seconds. rows: numbers of rows that were measured, rising. tokens: {cache slots: of one token of every row, at
    each number of rows}, slots rising. copy: of one prompt's cache into its place in a larger one."""

    rows: list[int]
    tokens: dict[int, list[float]]
    copy: float

    def token(self, rows: int, slots: int) -> float:
        """Interpolated; fewer rows than were measured cost as much as the fewest."""
        return float(np.interp(rows, self.rows, self.tokens[slots]))

    def batch(self, rows: int, longest: int) -> float:
        """Of a batch until its longest answer has ended, in a cache that grows."""
        seconds, begun = 0.0, 0
        for slots in self.tokens:
            seconds += max(min(longest, slots) - begun, 0) * self.token(rows, slots)
            begun = slots
        return seconds


def in_batches(costs: Costs, longest: np.ndarray, rows: int, group: int) -> float:
    """Prompts in the order given, as many at a time as fit into `rows`. longest: of each prompt's answers."""
    at_once = rows // group
    return sum(costs.batch(rows, longest[i : i + at_once].max()) for i in range(0, len(longest), at_once))


def refilled(costs: Costs, lengths: np.ndarray, rows: int, rows_each: int) -> float:
    """A queue of lengths, each taking `rows_each` rows until it has ended; its rows then go to the next."""
    slots, queue, left, seconds = max(costs.tokens), list(lengths[::-1]), [], 0.0
    while queue or left:
        while queue and (len(left) + 1) * rows_each <= rows:
            left.append(queue.pop())
            seconds += costs.copy
        first = min(left)
        seconds += first * costs.token(rows_each * len(left), slots)
        left = [length - first for length in left if length > first]
    return seconds


def filled(lengths: np.ndarray, rows: int) -> float:
    """BatchSharding of the slots of `in_batches` that hold a token. lengths: [prompts, G]."""
    group = lengths.shape[1]
    at_once = rows // group
    batches = [lengths[i : i + at_once] for i in range(0, len(lengths), at_once)]
    return lengths.sum() / sum(batch.max() * batch.size for batch in batches)


def compare(costs: Costs, draws: list[np.ndarray], rows: int) -> dict[str, float]:
    """Mean seconds of each schedule over draws of lengths [prompts, G], with at most `rows` at a time; and `filled`."""
    prompts, group = draws[0].shape
    most = min(rows, prompts * group)
    numbers = [number for number in costs.rows if group <= number <= most]

    def mean(seconds, *args):
        return float(np.mean([seconds(lengths, *args) for lengths in draws]))

    def batches(lengths, number):
        return in_batches(costs, lengths.max(1), number, group)

    def ordered(lengths, number):
        return in_batches(costs, np.sort(lengths.max(1)), number, group)

    def groups(lengths, number):
        return refilled(costs, lengths.max(1), number, group)

    def singles(lengths, number):
        return refilled(costs, lengths.ravel(), number, 1)

    return {
        "batches": mean(batches, most),
        "smaller batches": min(mean(batches, number) for number in numbers),
        "sorted": min(mean(ordered, number) for number in numbers),
        "refill groups": min(mean(groups, number) for number in numbers),
        "refill rows": min(mean(singles, number) for number in numbers),
        "filled": mean(filled, most),
    }
