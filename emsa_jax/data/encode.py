"""One sample in, one record out: all that a decoding process does."""

from functools import partial

import numpy as np

from emsa_jax.data.data_options import FPS_FRAMES, MIN_PIXELS, PrepareOptions
from emsa_jax.data.media import Broken, Frames, NoPicture, per_second, read_frames, read_sound, uniform
from emsa_jax.data.media.sampling import Sampling
from emsa_jax.data.mel import SAMPLE_RATE, log_mel
from emsa_jax.data.outliers import outliers
from emsa_jax.data.records import pack
from emsa_jax.data.sample import Sample

NO_FRAMES = Frames(np.zeros((0, 28, 28, 3), np.uint8), 0.0)
SOUND_ALONE = "a video without a picture was kept for its sound"
NO_PICTURE = "a video without a picture was left out, as the clip has a file of its own for the sound"


def encode(sample: Sample, source: str, options: PrepareOptions) -> bytes:
    """Decodes a sample's media and packs the record, with what is to be noted of the clip. `source`: sha256 of the
    media. Raises Broken."""
    notes: list[str] = list(sample.guesses)
    clip = {"max_seconds": options.max_seconds, "start": sample.start, "end": sample.end, "notes": notes}
    frames, sound, no_picture = NO_FRAMES, np.zeros(0, np.float32), ""
    if sample.video:
        try:
            frames = read_frames(sample.video, sampling_of(options), MIN_PIXELS, options.max_pixels, **clip)
        except NoPicture as reason:
            no_picture = str(reason)
            notes.append(NO_PICTURE if sample.audio else SOUND_ALONE)
    if path := sample.audio or sample.video:
        sound = read_sound(path, **clip)
    if sample.audio and not len(sound):
        raise Broken("sound: it has no samples")
    if sample.video and not len(frames.images) and not len(sound):
        raise Broken(f"{no_picture}, and no sound")
    if not np.isfinite(mel := log_mel(sound)).all():
        raise Broken("sound: its spectrogram is not finite")
    pcm = np.clip(np.rint(sound * 32768.0), -32768, 32767).astype(np.int16)
    seconds = max(len(frames.images) / frames.rate if frames.rate else 0.0, len(sound) / SAMPLE_RATE)
    notes += outliers(sample.text, frames.images, pcm, seconds)
    return pack(sample, frames.images, frames.rate, mel, pcm, source, options, notes=notes)


def sampling_of(options: PrepareOptions) -> Sampling:
    """Which frames of a video are read."""
    if not options.fps:
        return partial(uniform, num_frames=options.num_frames)
    return partial(per_second, fps=options.fps, min_frames=FPS_FRAMES[0], max_frames=FPS_FRAMES[1])
