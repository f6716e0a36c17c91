import numpy as np
import pytest

from emsa_jax.data.outliers import (
    CLIPPED,
    FEW_WORDS,
    MANY_WORDS,
    MUTE,
    ONE_COLOUR,
    SILENT,
    STATIC,
    outliers,
)

NOISE = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), np.uint8)
TONE = (8000 * np.sin(np.arange(16000) / 10)).astype(np.int16)


def jpeg_noise(frame):
    return np.clip(frame.astype(int) + np.indices(frame.shape).sum(axis=0) % 2, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "changes, found",
    [
        ({}, []),
        ({"pcm": TONE // 1000}, [SILENT]),
        ({"pcm": TONE * 0}, [SILENT]),
        ({"pcm": TONE * 0 + 16000}, [SILENT]),
        ({"pcm": TONE // 1000 - 32000}, [SILENT]),
        ({"pcm": np.where(TONE > 0, 32767, -32768).astype(np.int16)}, [CLIPPED]),
        ({"frames": np.repeat(NOISE[:1], 4, axis=0)}, [STATIC]),
        ({"frames": np.stack([NOISE[0], jpeg_noise(NOISE[0])])}, [STATIC]),
        ({"frames": NOISE[:1]}, []),
        ({"frames": NOISE * 0}, [ONE_COLOUR]),
        ({"frames": np.full((4, 28, 28, 3), 200, np.uint8)}, [ONE_COLOUR]),
        ({"pcm": TONE[:0]}, [MUTE]),
        ({"frames": NOISE[:0]}, []),
        ({"text": "so " * 25, "seconds": 2.0}, [MANY_WORDS]),
        ({"text": "so " * 20, "seconds": 2.0}, []),
        ({"text": "我" * 25, "seconds": 2.0}, [MANY_WORDS]),
        ({"text": "Yes, yes, yes!", "seconds": 0.2}, []),
        ({"text": "Yes.", "seconds": 60.0}, [FEW_WORDS]),
        ({"text": "", "seconds": 60.0}, []),
        ({"text": "so " * 25, "seconds": 0.0, "frames": NOISE[:0], "pcm": TONE[:0]}, []),
    ],
)
def test_what_is_odd(changes, found):
    assert outliers(**{"text": "", "frames": NOISE, "pcm": TONE, "seconds": 2.0} | changes) == found
