"""Decoding clips: frames sampled from a video, and sound as 16 kHz mono.

Whatever a damaged file makes the decoders do, the caller gets whole media or `Broken` with a reason: also for files
cut short, which decoders often accept without a word.

    frames = read_frames("clip.mp4", functools.partial(uniform, num_frames=16), 3136, 100_352)
    sound = read_sound("film.mkv", start=61.5, end=64.0)
"""

from emsa_jax.data.media.container import Broken, NoPicture
from emsa_jax.data.media.sampling import per_second, uniform
from emsa_jax.data.media.sound import read_sound
from emsa_jax.data.media.video import Frames, read_frames

__all__ = ["Broken", "Frames", "NoPicture", "per_second", "read_frames", "read_sound", "uniform"]
