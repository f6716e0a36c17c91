"""What pictures and sound have in common: opening a container, its streams, and the part that a clip is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, inf
from pathlib import Path

import av
from av.stream import Disposition

_LISTS = {"concat", "hls", "dash", "imf"}  # text that names other files, which no label vouches for
_NO_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails
_OVERRUN = 0.5  # seconds by which an annotated clip may end after its file
_MARGINS = (0, 10)  # seconds; the table of some containers names key frames by when they are decoded
_STATED = {"mov", "matroska", "avi", "asf", "flv"}  # containers whose header states a duration; others guess


class Broken(Exception):
    """A clip that cannot be used; the message is the reason, one line."""


class NoPicture(Broken):
    """A clip without a video stream, or without a frame in it, which may have sound all the same."""


@dataclass(frozen=True)
class Span:
    """Half-open part of a file in seconds: [start, end); an `end` of None is the file's own."""

    start: float = 0.0
    end: float | None = None

    def check(self, seconds: float | None) -> None:
        """Raises Broken where the part is empty or lies outside a file of so many seconds."""
        end = inf if self.end is None else self.end
        if not 0 <= self.start < end:
            raise Broken(f"{self} is empty")
        if seconds is not None and (self.start and self.start >= seconds or inf > end > seconds + _OVERRUN):
            last = self.start if self.end is None else self.end
            hint = "; perhaps these are milliseconds" if last > 10 * seconds and last <= 1000 * seconds + 1 else ""
            raise Broken(f"{self} is not within its {seconds:.2f} s{hint}")

    def ticks(self, container: av.container.InputContainer, time_base: Fraction) -> tuple[float, float]:
        """(first, end) in a stream's time stamps, which may not start at 0; infinite where nothing bounds it."""
        origin = Fraction(container.start_time or 0, av.time_base)

        def ticks(seconds: float) -> int:
            return ceil((Fraction(round(seconds * 1e6), 10**6) + origin) / time_base)

        return ticks(self.start) if self.start else -inf, inf if self.end is None else ticks(self.end)

    def __str__(self) -> str:
        return f"the clip from {self.start:g} to {'the end' if self.end is None else f'{self.end:g} s'}"


@contextmanager
def opened(path: str | Path) -> Iterator[av.container.InputContainer]:
    """A container to read. Names in it that are no Unicode do no harm, and nothing is fetched from a network."""
    options = {"protocol_whitelist": "file"}
    with av.open(str(path), metadata_errors="replace", container_options=options) as container:
        if container.format.name in _LISTS:
            raise Broken("it is a list of files, not media")
        yield container


def video_stream(container: av.container.InputContainer) -> av.VideoStream | None:
    """The stream that is marked as default, or else the first of the largest; covers and thumbnails are none."""
    streams = [s for s in container.streams.video if not s.disposition & _NO_PICTURES]
    return max(streams, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height), default=None)


def audio_stream(container: av.container.InputContainer) -> av.AudioStream | None:
    """The track that is marked as default, or else the first."""
    return max(container.streams.audio, key=lambda s: bool(s.disposition & Disposition.default), default=None)


def start_seconds(container: av.container.InputContainer) -> float | None:
    """When the earlier of picture and sound begins, on the container's clock; None where only one of them is there, or
    where nobody says. It is what both are aligned to."""
    streams = [video_stream(container), audio_stream(container)]
    starts = [s.start_time * s.time_base for s in streams if s is not None and s.start_time is not None]
    return float(min(starts)) if len(starts) == 2 else None


def stated_seconds(container: av.container.InputContainer) -> float | None:
    """The duration that the header states, of its longest stream; None where it would be a guess."""
    if container.duration is None or _STATED.isdisjoint(container.format.name.split(",")):
        return None
    if container.format.name == "avi" and container.streams.video:  # its header counts ticks; FFmpeg, bytes there are
        return float(max(s.frames * s.time_base for s in container.streams.video))
    return container.duration / av.time_base


def tick_of(packet: av.Packet) -> int | None:
    """When a packet is shown; AVI tells only when it is decoded."""
    return packet.dts if packet.pts is None else packet.pts


def seek(container: av.container.InputContainer, stream: av.stream.Stream, tick: float) -> None:
    """Goes to a packet at or before `tick` from which the stream decodes: a near one, or else the first of all."""
    if tick == -inf:
        return
    for margin in _MARGINS:
        target = int(tick - margin / stream.time_base)
        try:
            container.seek(target, stream=stream)
            found = next((p for p in container.demux(stream) if p.size), None)
            if found is not None and tick_of(found) is not None and tick_of(found) <= tick:
                return container.seek(target, stream=stream)
        except av.FFmpegError:
            break
    _rewind(container, stream)


def _rewind(container: av.container.InputContainer, stream: av.stream.Stream) -> None:
    """Goes to the stream's first packet, and not to the picture's, before which sound may have begun."""
    begin = stream.start_time or 0
    for early in (round(1 / stream.time_base), 0):  # what prepares a decoder comes before; FLV has nothing before 0
        try:
            return container.seek(begin - early, stream=stream)
        except av.FFmpegError:
            continue
    container.seek(container.start_time or 0)


def decoded(
    container: av.container.InputContainer, stream: av.stream.Stream, first: float, last: float
) -> Iterator[av.frame.Frame]:
    """The frames from where the container stands to those before `last`, in order.

    Broken for a bad one, unless it comes before `first`; such frames need not be whole.
    """
    for packet in container.demux(stream):
        ended = packet.dts is not None and packet.dts >= last
        try:
            frames = stream.codec_context.decode(None) if ended else packet.decode()  # None: what it holds back
        except av.FFmpegError:
            if packet.size and tick_of(packet) is not None and tick_of(packet) < first:
                continue
            raise
        for frame in frames:
            if frame.pts is None:
                raise Broken("its frames carry no times")
            if frame.is_corrupt and first <= frame.pts < last:
                raise Broken(f"its frame at {float(frame.pts * stream.time_base):.2f} s is damaged")
            if frame.pts < last:
                yield frame
        if ended:
            return


@contextmanager
def reasons(part: str, path: str | Path) -> Iterator[None]:
    """Every way in which decoding fails becomes Broken: decoders raise almost anything on damaged bytes."""
    try:
        yield
    except Broken as error:
        raise type(error)(f"{part}: {error}") from None
    except av.error.InvalidDataError as error:  # its own text begins with a number
        told = f"{Path(path).name} has no format that can be decoded, or is damaged"
        raise Broken(f"{part}: {told} ({type(error).__name__})") from error
    except Exception as error:
        message = " ".join((str(error) or repr(error)).split()).replace(str(path), Path(path).name)
        raise Broken(f"{part}: {message[:200]} ({type(error).__name__})") from error
