"""The pictures and the sound of a record as content parts of a chat request.

image_url and input_audio belong to OpenAI's protocol; video_url and audio_url are additions of vLLM and SGLang.
"""

from __future__ import annotations

import base64
import hashlib
import io
import wave
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

from emsa_jax.data.mel import SAMPLE_RATE
from emsa_jax.data.records import unpack, unpack_jpegs, unpack_pcm
from emsa_jax.distill.teacher_options import TeacherOptions


@dataclass(frozen=True)
class Media:
    """Content parts, and a summary of them: {"images": 4, "audio_seconds": 1.2, "sha256": ...}."""

    parts: list[dict] = field(repr=False)
    summary: dict


def media_of(record: bytes, has_video: bool, has_audio: bool, options: TeacherOptions) -> Media:
    """The media of a msgpack record, pictures before sound."""
    parts, summary, contents = [], {}, []
    if has_video and options.video == "frames":
        images = unpack_jpegs(record)
        images = [images[i] for i in spread(len(images), options.max_frames)]
        parts += [{"type": "image_url", "image_url": {"url": _uri("image/jpeg", image)}} for image in images]
        summary["images"] = len(images)
        contents += images
    elif has_video and options.video == "video":
        clip = unpack(record)
        chosen = spread(len(clip.frames), options.max_frames)
        video = mp4(clip.frames[chosen], clip.frame_rate * len(chosen) / len(clip.frames))
        parts.append({"type": "video_url", "video_url": {"url": _uri("video/mp4", video)}})
        summary["video_frames"] = len(chosen)
        contents.append(video)
    if has_audio and options.audio != "none":
        pcm = unpack_pcm(record)
        sound = wav(pcm)
        if options.audio == "input_audio":
            data = base64.b64encode(sound).decode()
            parts.append({"type": "input_audio", "input_audio": {"data": data, "format": "wav"}})
        else:
            parts.append({"type": "audio_url", "audio_url": {"url": _uri("audio/wav", sound)}})
        summary["audio_seconds"] = round(len(pcm) / SAMPLE_RATE, 3)
        contents.append(sound)
    if contents:
        summary["sha256"] = hashlib.sha256(b"".join(contents)).hexdigest()
    return Media(parts, summary)


def spread(total: int, most: int) -> list[int]:
    """At most `most` of the indices 0 to `total` - 1, evenly spaced, with the first and the last among them."""
    gaps = max(min(most, total) - 1, 1)
    return sorted({round(i * (total - 1) / gaps) for i in range(min(most, total))})


def wav(pcm: np.ndarray) -> bytes:
    """int16 [n], 16 kHz mono -> a wav file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm.astype("<i2").tobytes())
    return buffer.getvalue()


def mp4(frames: np.ndarray, frame_rate: float) -> bytes:
    """uint8 [F, H, W, 3] -> an H.264 file without sound. Equal frames give equal bytes."""
    buffer = io.BytesIO()
    rate = Fraction(frame_rate).limit_denominator(1000) if frame_rate > 0 else Fraction(1)
    with av.open(buffer, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        height, width = frames.shape[1:3]
        stream = container.add_stream(
            "libx264",
            rate=rate,
            width=width,
            height=height,
            pix_fmt="yuv420p",
            options={"crf": "18", "preset": "veryfast"},
        )
        stream.codec_context.thread_count = 1
        for i, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = i, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
