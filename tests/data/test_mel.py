import numpy as np
import pytest
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import mel_filter_bank

from emsa_jax.data.mel import _filters, log_mel

EXTRACTOR = WhisperFeatureExtractor(feature_size=128, sampling_rate=16000, hop_length=160, chunk_length=300, n_fft=400)


def test_filters_equal_transformers():
    theirs = mel_filter_bank(201, 128, 0.0, 8000.0, 16000, norm="slaney", mel_scale="slaney")
    np.testing.assert_allclose(_filters(), theirs, rtol=1e-9, atol=1e-12)


def reference(waveform):
    features = EXTRACTOR(waveform, sampling_rate=16000, padding="max_length", return_tensors="np")
    return features["input_features"][0].T[: -(-min(len(waveform), 4_800_000) // 160)]


@pytest.mark.parametrize("length", [1, 159, 160, 161, 4001, 48_077])
def test_equals_whisper(length):
    rng = np.random.default_rng(length)
    loudness = np.exp(-np.linspace(0, 8, length))  # falls below the floor, and ends in a jump to padding
    waveform = (0.3 * rng.standard_normal(length) * loudness + 0.01).astype(np.float32)
    mel = log_mel(waveform)
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel, reference(waveform), atol=1e-4, rtol=0)


def test_cuts_at_300_seconds_as_whisper_does():
    waveform = np.sin(np.arange(4_800_123) / 7).astype(np.float32)
    mel = log_mel(waveform)
    assert mel.shape == (30_000, 128)
    np.testing.assert_allclose(mel[-50:], reference(waveform)[-50:], atol=1e-4, rtol=0)


def test_silence_and_nothing():
    assert log_mel(np.zeros(0, np.float32)).shape == (0, 128)
    np.testing.assert_array_equal(log_mel(np.zeros(161, np.float32)), np.full((2, 128), -1.5, np.float32))
    with pytest.raises(ValueError, match="shape"):
        log_mel(np.zeros((2, 100), np.float32))
