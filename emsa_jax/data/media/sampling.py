"""Which frames of a video are kept: functions of (frames there are, seconds they last) -> int indices, rising."""

import math
from collections.abc import Callable

import numpy as np

Sampling = Callable[[int, float], np.ndarray]

_FACTOR = 2  # the towers take frames in pairs
_CLOCK = 1e-3  # seconds; to which some containers round their times


def uniform(total: int, _: float, num_frames: int) -> np.ndarray:
    """`num_frames` frames from the first to the last, all of them where there are fewer."""
    return _spread(total, min(num_frames, total))


def per_second(total: int, seconds: float, fps: float, min_frames: int, max_frames: int) -> np.ndarray:
    """`fps` frames a second, by the rule of Qwen's `smart_nframes`.

    seconds * fps is held to min_frames (rounded up to even) and max_frames (rounded down to even) and to what
    there is, then rounded down to even. A video of one frame keeps it, where Qwen's code gives up.
    """
    low, high = math.ceil(min_frames / _FACTOR) * _FACTOR, max_frames // _FACTOR * _FACTOR
    wanted = min(max((seconds + _CLOCK) * fps, low), high, total)
    return _spread(total, max(int(wanted // _FACTOR) * _FACTOR, 1))


def _spread(total: int, count: int) -> np.ndarray:
    return np.round(np.linspace(0, total - 1, count)).astype(int)
