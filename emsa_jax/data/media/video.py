"""Frames sampled from a video, resized."""

from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction
from math import inf
from pathlib import Path

import av
import numpy as np

from emsa_jax.data.media.container import (
    Broken,
    NoPicture,
    Span,
    decoded,
    opened,
    reasons,
    seek,
    start_seconds,
    stated_seconds,
    tick_of,
    video_stream,
)
from emsa_jax.data.media.sampling import Sampling
from emsa_jax.data.resize import resize, smart_resize

_MAX_MISSING = 0.02  # fraction of the frames or seconds that a container promises; edit lists and delays explain it
_MISSING_SECONDS = 0.25
_TOLD = 0.1  # seconds for which the first frame is held, from which on this is noted
LATE = "the picture begins later than the sound; its first frame was held"
_UNEVEN = 1.5  # frames by which the times of a constant rate may be off: AVI has none of its own
_MAX_HIDDEN = 0.1  # fraction of packets without a frame, which VP8 and old AVI files may have, and no others


@dataclass(frozen=True)
class Frames:
    """Sampled frames: uint8 [F, H, W, 3] (RGB), and how many were sampled a second."""

    images: np.ndarray
    rate: float


def read_frames(
    path: str | Path,
    sampling: Sampling,
    min_pixels: int,
    max_pixels: int,
    max_seconds: float = 300.0,
    start: float = 0.0,
    end: float | None = None,
    notes: list[str] | None = None,
) -> Frames:
    """The frames that `sampling` picks among those in [start, end) seconds, resized by `smart_resize`.

    Of a long file only that part is decoded, from the key frame before it. rate = F / duration, with the duration
    from the frames' own time stamps. Of a variable frame rate, and of a picture that begins later than the sound, the
    frames are those that would be seen at a constant rate from the beginning of both. Rotation marks are applied.
    notes: gets what was put right on the way, if anything. Raises NoPicture where there is no video stream, and Broken:
    also for a frame that is damaged or missing on the way, and for a file that is cut short.
    """
    span, size = Span(start, end), (min_pixels, max_pixels)
    with reasons("video", path):
        promised = _promised_frames(path, span, max_seconds)
        shown = promised.shown(sampling)
        images, ticks = _decode(path, span, shown, *size)
        if ticks != promised.ticks:  # bytes are damaged, packets have no frame, or seeking is inexact
            _, ticks = _decode(path, span, (), *size, from_start=True)
            lost = len(set(promised.ticks[1:-1]).difference(ticks))  # without the ends, where edit lists cut
            if not ticks or lost > promised.max_hidden * len(promised.ticks):
                raise Broken(f"it is damaged, {len(ticks)} of {len(promised.ticks)} frames decode")
            promised = replace(promised, ticks=ticks)
            shown = promised.shown(sampling)
            images, _ = _decode(path, span, shown, *size, from_start=True)
        if notes is not None and promised.late > _TOLD and promised.held:
            notes.append(LATE)
        place = {index: i for i, index in enumerate(sorted(set(shown.tolist())))}
        return Frames(np.stack([images[place[index]] for index in shown.tolist()]), len(shown) / promised.seconds)


@dataclass(frozen=True)
class _ClipFrames:
    """The frames of a clip, as its container lists them."""

    ticks: Sequence[int]  # their time stamps, rising
    time_base: Fraction  # seconds a tick
    still: Fraction  # the duration of a single frame, in seconds
    max_hidden: float  # the fraction of packets that may have no frame
    late: float = 0.0  # seconds from the clip's beginning to the first frame

    @property
    def interval(self) -> Fraction:
        """The seconds from frame to frame, on average."""
        if len(self.ticks) == 1:
            return self.still
        length = (self.ticks[-1] - self.ticks[0]) * self.time_base
        if length <= 0:
            raise Broken("its frames carry no times")
        return length / (len(self.ticks) - 1)

    @property
    def held(self) -> int:
        """How many frames are lacking before the first, at a constant rate."""
        return int(self.late / float(self.interval) + 0.01)

    @property
    def seconds(self) -> float:
        return float((self.held + len(self.ticks)) * self.interval)

    def shown(self, sampling: Sampling) -> np.ndarray:
        """int [F], the places in `ticks` of the frames that are seen when `sampling` picks them at a constant rate."""
        picked = np.maximum(sampling(self.held + len(self.ticks), self.seconds) - self.held, 0)
        ticks = np.asarray(self.ticks, np.float64) - self.ticks[0]
        constant = np.linspace(0, ticks[-1], len(ticks))
        if np.abs(ticks - constant).max() <= _UNEVEN * ticks[-1] / max(len(ticks) - 1, 1):
            return picked
        return np.searchsorted(ticks, constant[picked] + 0.5, side="right") - 1


def _promised_frames(path: str | Path, span: Span, max_seconds: float) -> _ClipFrames:
    """The frames of a clip by its packets, without decoding. Raises Broken where the container's table lists more."""
    with opened(path) as container:
        stream = video_stream(container)
        if stream is None:
            raise NoPicture("it has no video stream")
        is_mp4, seconds = "mov" in container.format.name, stated_seconds(container)
        span.check(seconds)
        first, last = span.ticks(container, stream.time_base)
        seek(container, stream, first)
        ticks, packets, reached = [], 0, Fraction(0)
        for packet in container.demux():  # all streams, since the longest of them makes the duration
            if packet.size and tick_of(packet) is not None:
                reached = max(reached, (tick_of(packet) + (packet.duration or 0)) * packet.time_base)
            if packet.stream is not stream or not packet.size:
                continue
            if packet.dts is not None and packet.dts >= last:
                break
            packets += 1
            tick = tick_of(packet)
            if tick is None:
                raise Broken("its frames carry no times")
            if first <= tick < last and not packet.is_discard:  # discarded: outside the edit list
                ticks.append(tick)
                if (tick - ticks[0]) * stream.time_base > max_seconds:
                    raise Broken(f"it is longer than {max_seconds:g} s")
        else:
            if is_mp4 and not span.start and _much_is_missing(packets, stream.frames, 1):
                raise Broken(f"it is cut short, {packets} of {stream.frames} frames are there")
            if "matroska" not in container.format.name:  # whose duration counts from 0, not from the first frame
                reached -= Fraction(container.start_time or 0, av.time_base)
            if seconds is not None and _much_is_missing(reached, min(seconds, span.end or inf), _MISSING_SECONDS):
                raise Broken(f"it is cut short, {float(reached):.2f} of {seconds:.2f} s are there")
        if not ticks:
            raise NoPicture(f"{span} has no frames" if span.start or span.end else "it has no frames")
        still = 1 / stream.average_rate if stream.average_rate else Fraction(1)
        ticks, origin = sorted(ticks), start_seconds(container)
        begin = first * stream.time_base if span.start else origin
        late = 0.0 if origin is None else max(0.0, float(ticks[0] * stream.time_base - begin))
        may_hide = container.format.name == "avi" or stream.codec_context.name == "vp8"
        return _ClipFrames(ticks, stream.time_base, still, _MAX_HIDDEN if may_hide else 0.0, late)


def _much_is_missing(found: float, promised: float, tolerance: float) -> bool:
    return promised - found > max(tolerance, _MAX_MISSING * promised)


def _decode(
    path: str | Path, span: Span, indices: Collection[int], min_pixels: int, max_pixels: int, from_start: bool = False
) -> tuple[list[np.ndarray], list[int]]:
    """(images of the frames `indices`, time stamps of all frames of a clip). Only those are converted and kept."""
    wanted, images, ticks, size = set(map(int, indices)), [], [], None
    with opened(path) as container:
        stream = video_stream(container)
        stream.codec_context.thread_count = 1  # one clip, one core
        stream.codec_context.options = {"err_detect": "explode"}  # a damaged frame is an error, and not made up
        first, last = span.ticks(container, stream.time_base)
        seek(container, stream, -inf if from_start else first)
        with closing(decoded(container, stream, first, last)) as frames:
            for frame in frames:
                if frame.pts < first:
                    continue
                if len(ticks) in wanted:
                    image = _upright(frame.to_ndarray(format="rgb24"), frame.rotation)
                    size = size or smart_resize(*image.shape[:2], min_pixels=min_pixels, max_pixels=max_pixels)
                    images.append(resize(image, *size))
                ticks.append(frame.pts)
    return images, ticks


def _upright(image: np.ndarray, degrees: int) -> np.ndarray:
    """Turns an image by its mark, in degrees counter-clockwise; only right angles are heeded."""
    return np.ascontiguousarray(np.rot90(image, degrees // 90)) if degrees % 90 == 0 else image
