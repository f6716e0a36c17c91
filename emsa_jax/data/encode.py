"""One sample in, one record out: all that a decoding process does."""

import numpy as np

from emsa_jax.data.media import Broken, Frames, read_frames, read_sound
from emsa_jax.data.mel import log_mel
from emsa_jax.data.records import PrepareOptions, pack
from emsa_jax.data.sample import Sample

NO_FRAMES = Frames(np.zeros((0, 28, 28, 3), np.uint8), 0.0)


def encode(sample: Sample, source: str, options: PrepareOptions) -> bytes:
    """Decodes a sample's media and packs the record. `source`: sha256 of the media. Raises Broken."""
    frames = NO_FRAMES
    if sample.video:
        frames = read_frames(
            sample.video, options.num_frames, options.min_pixels, options.max_pixels, options.max_seconds
        )
    path = sample.audio or sample.video
    sound = read_sound(path, options.max_seconds) if path else np.zeros(0, np.float32)
    if sample.audio and not len(sound):
        raise Broken("sound: it has no samples")
    pcm = np.clip(np.rint(sound * 32768.0), -32768, 32767).astype(np.int16)
    return pack(sample, frames.images, frames.rate, log_mel(sound), pcm, source, options)
