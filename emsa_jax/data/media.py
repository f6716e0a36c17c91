"""Decoding clips: frames spread evenly over a video, and sound as 16 kHz mono.

Whatever a damaged file makes the decoders do, the caller gets whole media or `Broken` with a reason: also for
files cut short, which decoders often accept without a word.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from emsa_jax.data.mel import SAMPLE_RATE
from emsa_jax.data.resize import resize, smart_resize

_MISSING_SHARE = (
    0.02  # of the frames that a container promises; edit lists and encoder delays explain as much
)
_MISSING_SECONDS = 0.25  # of sound
_SOUNDFILE_SUFFIXES = (".wav", ".flac")


class Broken(Exception):
    """A clip that cannot be used; the message is the reason, one line."""


@dataclass(frozen=True)
class Frames:
    """Sampled frames: uint8 [F, H, W, 3] (RGB), and how many were sampled a second."""

    images: np.ndarray
    rate: float


def read_frames(
    path: str | Path, num_frames: int, min_pixels: int, max_pixels: int, max_seconds: float = 300.0
) -> Frames:
    """`num_frames` frames (all of them where the video has fewer), evenly spaced from the first to the last.

    Indices are round(linspace(0, total - 1, F)) over the decoded frames; rate = F / duration, with the
    duration from the frames' own time stamps, so a variable frame rate is averaged. Rotation marks are
    applied. Frames are resized by `smart_resize`. Raises Broken.
    """
    with _reasons("video", path):
        promised = _count_frames(path)
        choose = (min_pixels, max_pixels, max_seconds)
        images, seconds, total = _pick_frames(path, _indices(promised, num_frames), *choose)
        if promised - total > max(1, _MISSING_SHARE * promised):
            raise Broken(f"it is cut short or damaged, {total} of {promised} frames decode")
        if total != promised:  # within tolerance: spread the frames over those there are
            images, seconds, total = _pick_frames(path, _indices(total, num_frames), *choose)
        if not images:
            raise Broken("it has no frames")
        if not seconds > 0:
            raise Broken("its frames carry no times")
        return Frames(np.stack(images), len(images) / seconds)


def read_sound(path: str | Path, max_seconds: float = 300.0) -> np.ndarray:
    """float32 [n] at 16 kHz: the first sound track, channels averaged, loudness untouched; n == 0 without a
    track.

    wav and flac are read by libsndfile, all else by FFmpeg; resampling is soxr's high quality. Raises Broken.
    """
    with _reasons("sound", path):
        if Path(path).suffix.lower() in _SOUNDFILE_SUFFIXES:
            waveform, rate = _read_soundfile(path, max_seconds)
        else:
            waveform, rate = _read_track(path, max_seconds)
        if not np.isfinite(waveform).all():
            raise Broken("it holds samples that are not finite")
        if rate != SAMPLE_RATE and len(waveform):
            import soxr

            waveform = soxr.resample(waveform, rate, SAMPLE_RATE, quality="HQ")
        return np.ascontiguousarray(waveform, np.float32)


# ---- video ----


def _indices(total: int, num_frames: int) -> np.ndarray:
    return np.round(np.linspace(0, total - 1, min(num_frames, total))).astype(int)


def _count_frames(path: str | Path) -> int:
    """Frames that the container promises; Broken where packets of its own table are missing."""
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise Broken("it has no video stream")
        stream = container.streams.video[0]
        packets = shown = 0
        for packet in container.demux(stream):
            if packet.size:
                packets += 1
                shown += not packet.is_discard  # outside the edit list: decoded, not shown
        if stream.frames - packets > max(1, _MISSING_SHARE * stream.frames):
            raise Broken(f"it is cut short, {packets} of {stream.frames} frames are there")
        return shown


def _pick_frames(
    path: str | Path, indices: np.ndarray, min_pixels: int, max_pixels: int, max_seconds: float
) -> tuple[list[np.ndarray], float, int]:
    """(chosen images, seconds of the video, frames decoded). Only chosen frames are converted and kept."""
    wanted, images, size = set(indices.tolist()), [], None
    total, first, last = 0, np.inf, -np.inf
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1  # one clip, one core
        still = 1 / stream.average_rate if stream.average_rate else 1.0  # the length of a lone frame
        for frame in container.decode(stream):
            if frame.time is not None:
                first, last = min(first, frame.time), max(last, frame.time)
                if last - first > max_seconds:
                    raise Broken(f"it is longer than {max_seconds:g} s")
            if total in wanted:
                image = _upright(frame.to_ndarray(format="rgb24"), frame.rotation)
                size = size or smart_resize(*image.shape[:2], min_pixels=min_pixels, max_pixels=max_pixels)
                images.append(resize(image, *size))
            total += 1
    seconds = (last - first) * total / (total - 1) if total > 1 else float(still)
    return images, seconds, total


def _upright(image: np.ndarray, degrees: int) -> np.ndarray:
    """Turns an image by its mark, in degrees counter-clockwise; only right angles are heeded."""
    return np.ascontiguousarray(np.rot90(image, degrees // 90)) if degrees % 90 == 0 else image


# ---- sound ----


def _read_soundfile(path: str | Path, max_seconds: float) -> tuple[np.ndarray, int]:
    import soundfile

    with soundfile.SoundFile(str(path)) as file:
        if file.frames > max_seconds * file.samplerate:
            raise Broken(f"it is longer than {max_seconds:g} s")
        samples = file.read(dtype="float32", always_2d=True)
        if len(samples) < file.frames:
            raise Broken(f"it is cut short, {len(samples)} of {file.frames} samples are there")
        if not len(samples):
            raise Broken("it has no samples")
        return samples.mean(axis=1), file.samplerate


def _read_track(path: str | Path, max_seconds: float) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            if not container.streams.video:
                raise Broken("it has no sound track")
            return np.zeros(0, np.float32), SAMPLE_RATE
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        blocks, samples, rate = [], 0, stream.rate
        planar = av.AudioResampler(
            format="fltp"
        )  # the sample format alone; its own down-mix changes loudness
        for frame in container.decode(stream):
            if frame.sample_rate != rate and blocks:
                raise Broken("its sample rate changes on the way")
            rate = frame.sample_rate
            for part in planar.resample(frame):
                blocks.append(part.to_ndarray().mean(axis=0))
                samples += len(blocks[-1])
            if samples > max_seconds * rate:
                raise Broken(f"it is longer than {max_seconds:g} s")
        if stream.duration:
            promised, seconds = float(stream.duration * stream.time_base), samples / rate
            if promised - seconds > max(_MISSING_SECONDS, _MISSING_SHARE * promised):
                raise Broken(f"it is cut short or damaged, {seconds:.2f} of {promised:.2f} s decode")
        return (np.concatenate(blocks) if blocks else np.zeros(0, np.float32)), rate


@contextmanager
def _reasons(part: str, path: str | Path) -> Iterator[None]:
    """Every way in which decoding fails becomes Broken: decoders raise almost anything on damaged bytes."""
    try:
        yield
    except Broken as error:
        raise Broken(f"{part}: {error}") from None
    except Exception as error:
        message = " ".join((str(error) or repr(error)).split()).replace(str(path), Path(path).name)
        raise Broken(f"{part}: {message[:200]} ({type(error).__name__})") from error
