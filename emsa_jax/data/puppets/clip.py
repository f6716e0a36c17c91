"""A puppet as an mp4 file: MPEG-4 video and AAC sound, the same bytes every time."""

import os
from fractions import Fraction

import av
import numpy as np
from av.codec.context import Flags

from emsa_jax.data.puppets.face import SIZE, draw_face
from emsa_jax.data.puppets.voice import RATE, sing, syllables
from emsa_jax.data.puppets.world import Domain, Puppet

FPS = 8
FRAMES = 10
SECONDS = 1.2  # of sound; the last frame begins before its end


def render(puppet: Puppet, domain: Domain) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [10, 56, 56, 3] at 8 a second, and sound float32 [19200] at 16 kHz."""
    openness = syllables(puppet.tempo, (np.arange(FRAMES) + 0.5) / FPS) * (0.6 + 0.05 * puppet.energy)
    return draw_face(puppet, domain.head, openness), sing(puppet, domain.rolloff, SECONDS)


def write_clip(path: str, puppet: Puppet, domain: Domain) -> None:
    """Writes `path` (mp4) and syncs it to disk. One thread and no time stamps: equal input, equal bytes."""
    frames, sound = render(puppet, domain)
    with open(path, "wb") as file:
        with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
            video = container.add_stream("mpeg4", rate=FPS, width=SIZE, height=SIZE, pix_fmt="yuv420p")
            audio = container.add_stream("aac", rate=RATE, layout="mono", options={"aac_coder": "fast"})
            video.bit_rate, audio.bit_rate = 300_000, 48_000
            for stream in (video, audio):
                stream.codec_context.thread_count = 1
                stream.codec_context.flags |= Flags.bitexact
            for i, pixels in enumerate(frames):
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, FPS)
                container.mux(video.encode(frame))
            container.mux(video.encode())
            frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
        file.flush()
        os.fsync(file.fileno())
