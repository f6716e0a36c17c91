"""What is odd about a single clip: what cannot teach anything, or does not go with its words. Nothing is changed."""

import re

import numpy as np

SILENT = "the sound is silent"
CLIPPED = "more than a hundredth of the sound is beyond full scale"
STATIC = "all frames are the same picture"
ONE_COLOUR = "the picture is black, or of one colour"
MUTE = "the video has no sound"
MANY_WORDS = "there are more words than can be said in its time"
FEW_WORDS = "there are hardly any words for its length"
OUTLIERS = (SILENT, CLIPPED, STATIC, ONE_COLOUR, MUTE, MANY_WORDS, FEW_WORDS)

_SILENCE = 33  # of 32768, that is -60 dB
_CLIPPED_SHARE = 0.01
_SAME = 1.0  # mean difference of two pictures, in grey levels of 256, that compression alone may make
_FLAT = 2.0  # standard deviation over a picture, in grey levels
_MOST_WORDS = 12.0  # words, or Chinese characters, a second; fast speech has 6 and 8
_FEWEST_WORDS, _LONG = 0.1, 10.0  # words a second, of clips that last longer than so many seconds
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")


def outliers(text: str, frames: np.ndarray, pcm: np.ndarray, seconds: float) -> list[str]:
    """Those of OUTLIERS that hold for a clip.

    text: its words. frames: uint8 [F, H, W, 3], those that were sampled. pcm: int16 [n]. seconds: how long it lasts.
    """
    found = _of_sound(pcm) + _of_pictures(frames)
    if len(frames) and not len(pcm):
        found.append(MUTE)
    words = len(_WORD.findall(text))
    if words and seconds:
        if words > max(_MOST_WORDS * seconds, 3):
            found.append(MANY_WORDS)
        elif seconds > _LONG and words < _FEWEST_WORDS * seconds:
            found.append(FEW_WORDS)
    return found


def _of_sound(pcm: np.ndarray) -> list[str]:
    if not len(pcm):
        return []
    loudness = np.abs(pcm.astype(np.int32))
    if np.abs(pcm - np.median(pcm)).max() < _SILENCE:  # a constant is no sound either
        return [SILENT]
    return [CLIPPED] if (loudness >= 32767).mean() > _CLIPPED_SHARE else []


def _of_pictures(frames: np.ndarray) -> list[str]:
    if not len(frames):
        return []
    if all(frame.std(axis=(0, 1)).max() < _FLAT for frame in frames):
        return [ONE_COLOUR]
    first = frames[0].astype(np.int16)
    same = len(frames) > 1 and all(np.abs(frame - first).mean() < _SAME for frame in frames[1:])
    return [STATIC] if same else []
