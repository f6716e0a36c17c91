"""Small clips made on the spot."""

from fractions import Fraction

import av
import numpy as np
import pytest


def sine(seconds, rate=16000, channels=1):
    wave = 0.25 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate)) / rate)
    return np.repeat(wave[None].astype(np.float32), channels, axis=0)


def write_clip(path, images, fps=10, times=None, sound=None, rate=16000, codec="mpeg4", gop=1, options=()):
    """images uint8 [F, H, W, 3]; times: seconds of each frame; sound float32 [channels, n]; the name says which box."""
    late = {"output_ts_offset": "1"} if str(path).endswith(".ts") else {}  # as broadcast has it: not from 0
    with av.open(str(path), "w", container_options=late) as container:
        if images is not None:
            video = container.add_stream(codec, rate=Fraction(fps), options={"g": str(gop), **dict(options)})
            video.bit_rate = 4_000_000
            video.height, video.width = images.shape[1:3]
            video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
        if sound is not None:
            layout, spoken = {1: "mono", 2: "stereo"}[len(sound)], "libopus" if str(path).endswith(".webm") else "aac"
            audio = container.add_stream(spoken, rate=rate, layout=layout)
        for i, image in enumerate(images if images is not None else []):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base = Fraction(1, 1000)
            frame.pts = round(1000 * (times[i] if times is not None else i / fps))
            container.mux(video.encode(frame))
        if images is not None:
            container.mux(video.encode())
        if sound is not None:
            for start in range(0, sound.shape[1], 1024):
                block = np.ascontiguousarray(sound[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=audio.layout.name)
                frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


@pytest.fixture
def clip(tmp_path):
    """clip(name, frames=30, size=(56, 84), sound=sine(3)): frame i is grey of 8 * i."""

    def make(name="clip.mp4", frames=30, size=(56, 84), **keywords):
        grey = np.arange(frames, dtype=np.uint8)[:, None, None, None] * 8
        images = np.broadcast_to(grey, (frames, *size, 3)) if frames else None
        return write_clip(tmp_path / name, images, **keywords)

    make.sine, make.write = sine, write_clip
    return make
