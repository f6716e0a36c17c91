"""A clip's sound as 16 kHz mono."""

from contextlib import closing
from pathlib import Path

import av
import numpy as np
import soundfile
import soxr

from emsa_jax.data.media.container import (
    Broken,
    Span,
    audio_stream,
    decoded,
    opened,
    reasons,
    seek,
    stated_seconds,
    video_stream,
)
from emsa_jax.data.mel import SAMPLE_RATE

_MISSING_SHARE, _MISSING_SECONDS = 0.02, 0.25  # of the sound that a container promises
_SOUNDFILE_SUFFIXES = (".wav", ".flac")
_NO_TABLE = {"mp3", "aac"}  # bare streams, in which a seek is inexact, so that they are read from the start
_RUN_UP = 0.5  # seconds decoded before a clip, since blocks of sound depend on those before them


def read_sound(
    path: str | Path, max_seconds: float = 300.0, start: float = 0.0, end: float | None = None
) -> np.ndarray:
    """float32 [n] at 16 kHz: [start, end) seconds of a file's track (the default one, or else the first).

    Channels are averaged, loudness is untouched; n == 0 without a track, or where it has ended before `start`. A
    track that begins late or has gaps is closed up. wav and flac are read by libsndfile, all else by FFmpeg;
    resampling is soxr's high quality. Raises Broken.
    """
    span = Span(start, end)
    with reasons("sound", path):
        read = _read_soundfile if Path(path).suffix.lower() in _SOUNDFILE_SUFFIXES else _read_track
        waveform, rate = read(path, span, max_seconds)
        if not np.isfinite(waveform).all():
            raise Broken("it holds samples that are not finite")
        if rate != SAMPLE_RATE and len(waveform):
            waveform = soxr.resample(waveform, rate, SAMPLE_RATE, quality="HQ")
            if not np.isfinite(waveform).all():
                raise Broken("its samples are so large that they are not finite once resampled")
        return np.ascontiguousarray(waveform, np.float32)


def _read_soundfile(path: str | Path, span: Span, max_seconds: float) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(str(path)) as file:
        rate = file.samplerate
        if not file.frames:
            raise Broken("it has no samples")
        span.check(file.frames / rate)
        first = round(span.start * rate)
        last = file.frames if span.end is None else min(round(span.end * rate), file.frames)
        if last - first > max_seconds * rate:
            raise Broken(f"it is longer than {max_seconds:g} s")
        file.seek(first)
        samples = file.read(last - first, dtype="float32", always_2d=True)
        if len(samples) < last - first:
            raise Broken(f"it is cut short, {len(samples)} of {last - first} samples are there")
        return samples.mean(axis=1), rate


def _read_track(path: str | Path, span: Span, max_seconds: float) -> tuple[np.ndarray, int]:
    with opened(path) as container:
        stream = audio_stream(container)
        if stream is None:
            if video_stream(container) is None:
                raise Broken("it has no sound track")
            return np.zeros(0, np.float32), SAMPLE_RATE
        span.check(stated_seconds(container))
        first, last = span.ticks(container, stream.time_base)
        if container.format.name not in _NO_TABLE:
            seek(container, stream, first - _RUN_UP / float(stream.time_base))
        stream.codec_context.thread_count = 1
        planar = av.AudioResampler(format="fltp")  # the sample format alone; its own down-mix changes loudness
        blocks, samples, rate, lead = [], 0, stream.rate, 0
        with closing(decoded(container, stream, first, last)) as frames:
            for frame in frames:
                if frame.sample_rate != rate and blocks:
                    raise Broken("its sample rate changes on the way")
                rate = frame.sample_rate
                per_tick = float(stream.time_base) * rate  # samples
                if frame.pts + frame.samples / per_tick <= first:
                    continue
                if not blocks:
                    lead = max(0, round((first - frame.pts) * per_tick)) if span.start else 0
                    due = (last - max(first, frame.pts)) * per_tick  # samples
                for part in planar.resample(frame):
                    blocks.append(part.to_ndarray().mean(axis=0))
                    samples += len(blocks[-1])
                if samples - lead > max_seconds * rate:
                    raise Broken(f"it is longer than {max_seconds:g} s")
        if not blocks:
            return np.zeros(0, np.float32), SAMPLE_RATE
        waveform = np.concatenate(blocks)[lead:]
        waveform = waveform[: round(min(due, len(waveform)))]
        _check_whole(container, stream, first, last, len(waveform) / rate)
        return waveform, rate


def _check_whole(
    container: av.container.InputContainer, stream: av.AudioStream, first: float, last: float, seconds: float
) -> None:
    """Broken where much less sound decoded than the track's own duration promises."""
    if stream.duration and stated_seconds(container) is not None:
        begin = stream.start_time or 0
        ticks = min(last, begin + stream.duration) - max(first, begin)
        promised = float(ticks * stream.time_base)
        if promised - seconds > max(_MISSING_SECONDS, _MISSING_SHARE * promised):
            raise Broken(f"it is cut short or damaged, {seconds:.2f} of {promised:.2f} s decode")
