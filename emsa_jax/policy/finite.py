"""Numbers that a policy can compute with: finite ones, also where they are computed with as bfloat16."""

from __future__ import annotations

import numpy as np

PIECE = 2**18  # values that are looked at together: they stay in a core's cache

# type -> (the unsigned integers of its bits, all bits but the sign, the least magnitude that is refused: infinity, or a
# float32 that rounds to infinity as bfloat16)
_BITS = {
    "float16": (np.uint16, 0x7FFF, 0x7C00),
    "bfloat16": (np.uint16, 0x7FFF, 0x7F80),
    "float32": (np.uint32, 0x7FFFFFFF, 0x7F7F8000),
    "float64": (np.uint64, 0x7FFFFFFFFFFFFFFF, 0x47EFF00000000000),
}


def all_finite(values: np.ndarray) -> bool:
    """Whether every number of an array is finite, and stays so as bfloat16. Arrays of whole numbers are.

    values: any shape, float16, bfloat16, float32 or float64. Their bits are compared as whole numbers, since NumPy has
    no quick `isfinite` for bfloat16.
    """
    if values.dtype.name not in _BITS:
        return True
    integer, magnitude, limit = _BITS[values.dtype.name]
    bits = np.ascontiguousarray(values).reshape(-1).view(integer)
    pieces = (bits[first : first + PIECE] for first in range(0, len(bits), PIECE))
    return all(int((piece & integer(magnitude)).max()) < limit for piece in pieces)
