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
    start_seconds,
    stated_seconds,
    video_stream,
)
from emsa_jax.data.mel import SAMPLE_RATE

_MISSING_SHARE, _MISSING_SECONDS = 0.02, 0.25  # of the sound that a container promises
_SOUNDFILE_SUFFIXES = (".wav", ".flac")
_NO_TABLE = {"mp3", "aac"}  # bare streams, in which a seek is inexact, so that they are read from the start
_RUN_UP = 0.5  # seconds decoded before a clip, since blocks of sound depend on those before them
_GAP = 0.05  # seconds between blocks that are no gap; some containers round their times
_TOLD = 0.1  # seconds of silence put before a sound, from which on this is noted
_LOUDEST = 4.0  # of samples in floating point, whose full scale is 1; a peak beyond it is another scale
_SIXTEEN_BITS = 256.0, 32768.0  # peaks of the 16-bit scale; lower ones may be of another, such as that of 8 bits
_CANCELLED = 0.01  # peak of the mean of all channels over that of the first, below which they cancel out
LATE = "the sound begins later than the picture; silence was put before it"
SCALED = "sound with samples of the 16-bit scale in floating point was divided by 32768"
ONE_CHANNEL = "the channels of the sound cancel out; the first was taken"


def read_sound(
    path: str | Path,
    max_seconds: float = 300.0,
    start: float = 0.0,
    end: float | None = None,
    notes: list[str] | None = None,
) -> np.ndarray:
    """float32 [n] at 16 kHz: [start, end) seconds of a file's track (the default one, or else the first).

    Channels are averaged, loudness is untouched; n == 0 without a track, or where it has ended before `start`. Where
    there is a picture, sound is aligned with it by the time stamps: silence stands for what a track that begins later
    lacks, and for gaps. wav and flac are read by libsndfile, all else by FFmpeg; resampling is soxr's high quality.
    notes: gets what was put right on the way, if anything. Raises Broken.
    """
    notes = [] if notes is None else notes
    span = Span(start, end)
    with reasons("sound", path):
        read = _read_soundfile if Path(path).suffix.lower() in _SOUNDFILE_SUFFIXES else _read_track
        channels, silence, rate = read(path, span, max_seconds)
        waveform = np.concatenate([np.zeros(silence, np.float32), _full_scale(_mixed(channels, notes), notes)])
        if silence > _TOLD * rate:
            notes.append(LATE)
        return at_sample_rate(waveform, rate)


def at_sample_rate(waveform: np.ndarray, rate: float) -> np.ndarray:
    """A waveform [n] of another rate as float32 [m] at 16 kHz."""
    if rate != SAMPLE_RATE and len(waveform):
        waveform = soxr.resample(waveform, rate, SAMPLE_RATE, quality="HQ")
    return np.ascontiguousarray(waveform, np.float32)


def _mixed(channels: np.ndarray, notes: list[str]) -> np.ndarray:
    """[2, n], the mean of all channels and the first of them, -> [n]: the mean, unless channels of opposite sign leave
    nothing of it."""
    mean, first = channels
    if not np.isfinite(channels).all():
        raise Broken("it holds samples that are not finite")
    if len(mean) and np.abs(mean).max() < _CANCELLED * np.abs(first).max():
        notes.append(ONE_CHANNEL)
        return first
    return mean


def _full_scale(waveform: np.ndarray, notes: list[str]) -> np.ndarray:
    """Samples [n] whose full scale is 1. Those of the 16-bit scale are divided; Broken for any other."""
    peak = np.abs(waveform).max(initial=0.0)
    if peak <= _LOUDEST:
        return waveform
    if not _SIXTEEN_BITS[0] <= peak <= _SIXTEEN_BITS[1]:
        raise Broken(f"its samples reach {peak:.3g}, where the full scale is 1 in floating point")
    notes.append(SCALED)
    return waveform / np.float32(32768.0)


def _read_soundfile(path: str | Path, span: Span, max_seconds: float) -> tuple[np.ndarray, int, int]:
    """(the mean of all channels and the first of them [2, n], samples of silence before them, rate)"""
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
        return np.stack([samples.mean(axis=1), samples[:, 0]]), 0, rate


def _read_track(path: str | Path, span: Span, max_seconds: float) -> tuple[np.ndarray, int, int]:
    """As `_read_soundfile`."""
    with opened(path) as container:
        stream = audio_stream(container)
        if stream is None:
            if video_stream(container) is None:
                raise Broken("it has no sound track")
            return np.zeros((2, 0), np.float32), 0, SAMPLE_RATE
        span.check(stated_seconds(container))
        first, last = span.ticks(container, stream.time_base)
        if container.format.name not in _NO_TABLE:
            seek(container, stream, first - _RUN_UP / float(stream.time_base))
        stream.codec_context.thread_count = 1
        planar = av.AudioResampler(format="fltp")  # the sample format alone; its own down-mix changes loudness
        blocks, samples, rate, lead, gaps, late = [], 0, stream.rate, 0, 0, 0.0
        origin = start_seconds(container)
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
                    begin, due = frame.pts, (last - max(first, frame.pts)) * per_tick  # ticks, samples
                    if origin is not None:
                        zero = first if span.start else origin / float(stream.time_base)
                        late = max(0.0, (frame.pts - zero) * per_tick)
                gap = round((frame.pts - begin) * per_tick) - samples
                if gap > _GAP * rate and samples + gap - lead <= max_seconds * rate:
                    blocks.append(np.zeros((2, gap), np.float32))
                    samples, gaps = samples + gap, gaps + gap
                for part in planar.resample(frame):
                    channels = part.to_ndarray()
                    blocks.append(np.stack([channels.mean(axis=0), channels[0]]))
                    samples += len(channels[0])
                if samples - lead > max_seconds * rate:
                    raise Broken(f"it is longer than {max_seconds:g} s")
        if not blocks:
            return np.zeros((2, 0), np.float32), 0, SAMPLE_RATE
        waveform = np.concatenate(blocks, axis=1)[:, lead:]
        waveform = waveform[:, : round(min(due, waveform.shape[1]))]
        _check_whole(container, stream, first, last, (waveform.shape[1] - gaps) / rate)
        if late > max_seconds * rate:
            raise Broken(f"it begins {late / rate:.0f} s after the picture")
        return waveform, round(late), rate


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
