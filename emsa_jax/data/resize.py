"""Frame sizes as vision towers want them: multiples of 28 with bounded pixels (Qwen2-VL), squares (CLIP)."""

import math

import numpy as np
from PIL import Image

FACTOR = 28  # patch 14 x merge 2
_MAX_ASPECT = 200


def smart_resize(
    height: int, width: int, factor: int = FACTOR, min_pixels: int = 3136, max_pixels: int = 128 * 28 * 28
) -> tuple[int, int]:
    """(height, width), each a multiple of `factor`, with min_pixels <= height * width <= max_pixels if
    possible.

    The rule of Hugging Face's Qwen2VLImageProcessor: round each side to the nearest multiple (half to even);
    if the area is then out of bounds, scale the given sides to the bound and round toward the inside.
    Extremely long images can exceed max_pixels, since no side goes below `factor`. Raises ValueError beyond
    aspect 200.
    """
    if min(height, width) < 1 or max(height, width) > _MAX_ASPECT * min(height, width):
        raise ValueError(f"a frame of {height} x {width} is longer than {_MAX_ASPECT} times its breadth")
    rows, columns = (round(side / factor) * factor for side in (height, width))
    if rows * columns > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rows, columns = (max(factor, math.floor(side / shrink / factor) * factor) for side in (height, width))
    elif rows * columns < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows, columns = (math.ceil(side * grow / factor) * factor for side in (height, width))
    return rows, columns


def resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [h, w, 3] -> uint8 [height, width, 3], bicubic, antialiased; untouched where the size fits."""
    if frame.shape[:2] == (height, width):
        return frame
    return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC))


def square(frame: np.ndarray, side: int) -> np.ndarray:
    """uint8 [h, w, 3] -> uint8 [side, side, 3] as CLIP's image processor does it: the shorter edge becomes `side`, and
    the middle is cut out."""
    height, width = frame.shape[:2]
    short = min(height, width)
    frame = resize(frame, side * height // short, side * width // short)
    top, left = (frame.shape[0] - side) // 2, (frame.shape[1] - side) // 2
    return frame[top : top + side, left : left + side]
