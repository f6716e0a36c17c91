"""The log-mel spectrogram of Whisper, on the frames that carry sound alone."""

from functools import lru_cache

import numpy as np

SAMPLE_RATE = 16_000
HOP = 160  # 100 frames a second
WINDOW = 400
MEL_BINS = 128
MAX_SAMPLES = 300 * SAMPLE_RATE
_TOP_MEL = 15.0 + 27.0 * np.log(8.0) / np.log(6.4)  # of 8 kHz
_BLOCK = 2048  # frames transformed at once, to bound memory


def log_mel(waveform: np.ndarray) -> np.ndarray:
    """float32 [n] at 16 kHz -> float32 [ceil(n / 160), 128].

    Equals the valid frames of WhisperFeatureExtractor(feature_size=128, chunk_length=300,
    padding="max_length"): periodic Hann window of 400, reflected edges, power spectrum, slaney mel bands up
    to 8 kHz, log10, floor at 8 below the sample's own maximum, (x + 4) / 4. The extractor pads with zeros to
    300 s; one window of zeros is enough for the same frames. Sound beyond 300 s is cut off.
    """
    waveform = np.asarray(waveform, np.float32)[:MAX_SAMPLES]
    if waveform.ndim != 1:
        raise ValueError(f"waveform must have shape [n], not {list(waveform.shape)}")
    if not len(waveform):
        return np.zeros((0, MEL_BINS), np.float32)
    num_frames = -(-len(waveform) // HOP)
    padded = np.pad(waveform, (0, min(WINDOW, MAX_SAMPLES - len(waveform))))
    padded = np.pad(padded, WINDOW // 2, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    windows = windows[:-1]  # the last would be centred on the end
    hann = np.hanning(WINDOW + 1)[:-1]
    blocks = []
    for start in range(0, len(windows), _BLOCK):
        power = np.abs(np.fft.rfft(windows[start : start + _BLOCK] * hann)) ** 2
        blocks.append(np.log10(np.maximum(power @ _filters(), 1e-10)))
    log_spectrum = np.concatenate(blocks)
    log_spectrum = np.maximum(log_spectrum, log_spectrum.max() - 8.0)
    return ((log_spectrum[:num_frames] + 4.0) / 4.0).astype(np.float32)


@lru_cache(maxsize=1)
def _filters() -> np.ndarray:
    """float64 [201, 128]: triangles of unit area, evenly spaced on Slaney's mel scale from 0 to 8 kHz."""
    bins = np.linspace(0.0, SAMPLE_RATE / 2, WINDOW // 2 + 1)[:, None]
    edges = _hertz(np.linspace(0.0, _TOP_MEL, MEL_BINS + 2))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return np.maximum(triangles, 0.0) * 2.0 / (high - low)


def _hertz(mel: np.ndarray) -> np.ndarray:
    """Slaney's scale: 200 Hz are 3 mel up to 1 kHz, and a factor of 6.4 is 27 mel above."""
    return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))
