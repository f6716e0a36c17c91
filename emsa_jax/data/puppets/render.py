"""What puppets look and sound like: a drawn face, a synthetic voice, and both as an mp4 file.

The face is a big simple head that fills the frame; the curve of the mouth and the tilt of the brows carry the cues. The
voice is a harmonic tone shaped by vowel formants; pitch, contour, tempo and energy carry the cues. Equal puppets give
equal bytes.
"""

import os
from colorsys import hls_to_rgb
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from emsa_jax.data.puppets.world import Domain, Puppet

FPS = 8
FRAMES = 10
SECONDS = 1.2  # of sound; the last frame begins before its end
SIZE = 56  # pixels of each side of a frame
_SUPER = 3  # frames are drawn larger by this factor, then box-averaged
RATE = 16_000  # samples a second
_HOP = 160  # the spectral envelope is constant over so many samples
_HARMONICS = 20
# first three formants in Hz of a, e, i, o, u
_VOWELS = np.array([(750, 1250, 2600), (480, 1900, 2600), (300, 2300, 3000), (480, 900, 2500), (330, 750, 2400)])
_BANDWIDTH = np.array([90.0, 130.0, 200.0])  # Hz
_GAIN = np.array([1.0, 0.6, 0.35])


def render(puppet: Puppet, domain: Domain) -> tuple[np.ndarray, np.ndarray]:
    """Frames uint8 [10, 56, 56, 3] at 8 a second, and sound float32 [19200] at 16 kHz."""
    openness = syllables(puppet.tempo, (np.arange(FRAMES) + 0.5) / FPS) * (0.6 + 0.05 * puppet.energy)
    return draw_face(puppet, domain.head, openness), sing(puppet, domain.rolloff, SECONDS)


def write_clip(path: str, puppet: Puppet, domain: Domain) -> None:
    """Writes `path` (mp4) and syncs it to disk."""
    frames, sound = render(puppet, domain)
    with open(path, "wb") as file:
        encode_clip(file, frames, sound)
        file.flush()
        os.fsync(file.fileno())


def encode_clip(file: BinaryIO, frames: np.ndarray, sound: np.ndarray, codec: str = "mpeg4") -> None:
    """Writes an mp4 of what `render` gives. One thread and no time stamps: equal input, equal bytes. codec: "libx264"
    for browsers, which do not play the other."""
    with av.open(file, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        video = container.add_stream(codec, rate=FPS, width=SIZE, height=SIZE, pix_fmt="yuv420p")
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


def draw_face(puppet: Puppet, head: str, openness: np.ndarray) -> np.ndarray:
    """Frames uint8 [F, 56, 56, 3]; openness float [F] in [0, 1] opens the mouth as the voice sounds.
    head is "round" or "square"."""
    rng = np.random.default_rng((*puppet.key, 0))
    phase = rng.uniform(0, 2 * np.pi, 2)
    at = np.arange(len(openness)) / max(len(openness), 1) * 2 * np.pi
    sway = np.stack([0.8 * np.sin(at + phase[0]), 0.6 * np.sin(2 * at + phase[1])], -1)
    # nobody sits twice in the same place before a camera
    sway, scale, angle = sway + rng.uniform(-5, 5, 2), rng.uniform(0.75, 1), np.radians(rng.uniform(-12, 12))
    turn = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.stack([_frame(puppet, head, gap, shift, turn) for gap, shift in zip(openness, sway, strict=True)])


def _frame(puppet: Puppet, head: str, gap: float, shift: np.ndarray, turn: np.ndarray) -> np.ndarray:
    speaker = puppet.speaker
    image = Image.new("RGB", (SIZE * _SUPER,) * 2, _colour(speaker.backdrop_hue, 0.45, 0.4))
    draw = ImageDraw.Draw(image)

    def place(points: ArrayLike) -> list[tuple]:  # head coordinates in pixels (right, down) -> the large canvas
        points = np.asarray(points, float) * (speaker.width, 1) @ turn + shift + SIZE / 2
        return [tuple(p) for p in points * _SUPER]

    skin, ink = _colour(speaker.skin_hue, 0.72, 0.7), (25, 20, 30)
    draw.polygon(place(_oval(0, 0, 25, 26, 2 if head == "round" else 6)), fill=skin)
    for side in (-1, 1):
        draw.polygon(place(_oval(side * 10, -5, 4, 4)), fill=(250, 250, 250))
        draw.polygon(place(_oval(side * 10, -5, 2.2, 2.2)), fill=ink)
        height, tilt = -14 - 3 * puppet.lift, 4 * puppet.brow
        brow = place([(side * 4, height + tilt), (side * 17, height - tilt)])
        draw.line(brow, fill=ink, width=int(2.4 * _SUPER))
    u = np.linspace(-1, 1, 15)
    upper = 11 - 9 * puppet.mouth * (u**2 - 0.45)
    lower = upper + 0.5 + 4 * gap * (1 - u**2)
    lips = place(np.stack([13 * u, upper], -1)), place(np.stack([13 * u, lower], -1))
    draw.polygon(lips[0] + lips[1][::-1], fill=(120, 10, 30))
    for lip in lips:
        draw.line(lip, fill=(120, 10, 30), width=int(2.2 * _SUPER), joint="curve")
    return np.asarray(image.reduce(_SUPER))


def _oval(x: float, y: float, width: float, height: float, power: float = 2) -> np.ndarray:
    """A superellipse around (x, y): [48, 2] points; power 2 is round, more is squarer."""
    at = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    c, s = np.cos(at), np.sin(at)
    bend = 2 / power
    return np.stack([x + width * np.sign(c) * abs(c) ** bend, y + height * np.sign(s) * abs(s) ** bend], -1)


def _colour(hue: float, lightness: float, saturation: float) -> tuple[int, int, int]:
    return tuple(round(255 * c) for c in hls_to_rgb(hue / 360, lightness, saturation))


def syllables(tempo: float, times: np.ndarray) -> np.ndarray:
    """Loudness in [0, 1] at the given times (seconds): one bump a syllable, silence between."""
    return np.sin(np.pi * (tempo * times % 1)) ** 0.8


def sing(puppet: Puppet, rolloff: float, seconds: float) -> np.ndarray:
    """Mono waveform float32 [seconds * 16000] in [-1, 1]. rolloff: harmonic k weighs k ** -rolloff."""
    rng = np.random.default_rng((*puppet.key, 1))
    count = round(seconds * RATE)
    times = np.arange(count) / RATE
    semitones = puppet.pitch + puppet.contour * (times / seconds - 0.5) + 0.15 * np.sin(2 * np.pi * 5 * times)
    pitch = puppet.speaker.base_pitch * 2 ** (semitones / 12)
    vowels = rng.permutation(len(_VOWELS))[(puppet.tempo * times[::_HOP]).astype(int) % len(_VOWELS)]
    # a smile shortens the vocal tract: formants rise with the pitch cue
    formants = _VOWELS[vowels] * puppet.speaker.tract * (1 + 0.03 * puppet.pitch)
    tone = _harmonics(pitch, formants, rolloff) * syllables(puppet.tempo, times)
    tone += 0.01 * np.abs(tone).max() * rng.standard_normal(count)  # breath
    loudness = 0.08 * 10 ** (puppet.energy / 20)
    return np.clip(tone * loudness / np.sqrt(np.mean(tone**2)), -1, 1).astype(np.float32)


def _harmonics(pitch: np.ndarray, formants: np.ndarray, rolloff: float) -> np.ndarray:
    """Sum over k of a_k(t) sin(k phase(t)): pitch [S] in Hz, formants [ceil(S / hop), 3] in Hz -> [S]."""
    k = np.arange(1, _HARMONICS + 1)
    frequency = k[:, None, None] * pitch[::_HOP, None]  # [K, frames, 1]
    peaks = np.exp(-0.5 * ((frequency - formants) / _BANDWIDTH) ** 2) @ _GAIN
    weights = (peaks + 0.03) * (k**-rolloff)[:, None] * (frequency[..., 0] < 0.45 * RATE)
    weights = np.repeat(weights, _HOP, axis=1)[:, : len(pitch)]
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    # sin(k x) from its two predecessors: far cheaper than K sines
    previous, current, twice = np.zeros_like(phase), np.sin(phase), 2 * np.cos(phase)
    total = weights[0] * current
    for weight in weights[1:]:
        previous, current = current, twice * current - previous
        total += weight * current
    return total
