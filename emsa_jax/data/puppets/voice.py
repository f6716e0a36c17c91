"""The voice: a harmonic tone shaped by vowel formants. Pitch, contour, tempo and energy are what matters."""

import numpy as np

from emsa_jax.data.puppets.world import Puppet

RATE = 16_000  # samples a second
_HOP = 160  # the spectral envelope is constant over so many samples
_HARMONICS = 20
# first three formants in Hz of a, e, i, o, u
_VOWELS = np.array([(750, 1250, 2600), (480, 1900, 2600), (300, 2300, 3000), (480, 900, 2500), (330, 750, 2400)])
_BANDWIDTH = np.array([90.0, 130.0, 200.0])  # Hz
_GAIN = np.array([1.0, 0.6, 0.35])


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
