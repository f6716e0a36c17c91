"""To which lengths prompts are filled up, so that batches have few shapes: chosen from the lengths of the data."""

from collections.abc import Sequence

import numpy as np

MOST = 4  # lengths at most: for each of them, programs are compiled
SAVING = 0.15  # part of all token slots that one more length must save
MULTIPLES = (64, 16)  # of which lengths above and up to LONG are multiples: tiles of accelerators like the first
LONG = 256


def choose_buckets(lengths: Sequence[int], least: int = 1, multiples: tuple[int, int] = MULTIPLES) -> tuple[int, ...]:
    """Few lengths, rising, to which prompts of these lengths are filled up with little in vain.

    multiples: of which the lengths are multiples, above `LONG` and up to it.

    Of all ways to cut the sorted prompts into k groups of at least `least` prompts, the one with the fewest token slots
    (each prompt of a group takes as many as the longest one); k is raised while that saves a part `SAVING` of them. A
    function of the lengths alone, and so the same on every process.
    """
    multiple = np.where(np.asarray(lengths) > LONG, *multiples)
    edges, counts = np.unique(np.maximum(-(-np.asarray(lengths) // multiple), 1) * multiple, return_counts=True)
    below = np.concatenate([[0], np.cumsum(counts)])  # prompts that are shorter than a group may begin with
    members = below[None, :] - below[:, None]  # of a group from one edge up to another
    group = np.where(members >= max(least, 1), members * np.append(0, edges)[None, :], np.inf)
    slots, begins, chosen = np.where(below, np.inf, 0.0), [], (int(edges[-1]),)
    fewest = np.inf
    for _ in range(MOST):
        ways = slots[:, None] + group
        slots, begins = ways.min(0), [*begins, ways.argmin(0)]
        if not slots[-1] < (1 - SAVING) * fewest:
            break
        fewest, end, chosen = slots[-1], len(edges), ()
        for first in reversed(begins):
            chosen, end = (int(edges[end - 1]), *chosen), first[end]
    return chosen
