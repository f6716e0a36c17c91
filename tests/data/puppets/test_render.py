"""Face and voice: what the cues say must be there to see and to hear."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emsa_jax.data.puppets.render import FRAMES, RATE, SECONDS, SIZE, render, syllables
from emsa_jax.data.puppets.world import DOMAINS, PuppetWorld, draw_world


def spectrum(sound):
    """Mean log power of windows of 25 ms, in bins of 25 Hz up to 4 kHz."""
    windows = np.lib.stride_tricks.sliding_window_view(sound, 400)[::160] * np.hanning(400)
    power = np.abs(np.fft.rfft(windows, 640)[:, :160]) ** 2
    return np.log10(power + 1e-8).mean(0)


@pytest.fixture(scope="module", params=DOMAINS)
def rendered(request):
    options = PuppetWorld(domain=request.param, num_train=320, num_valid=1, num_test=160, noise=0)
    puppets = draw_world(options)
    return puppets, [render(p, DOMAINS[request.param]) for p in puppets]


def linear_accuracy(features, puppets):
    features, polarity = np.array(features), np.array([np.sign(p.score) for p in puppets])
    split = np.array([p.split for p in puppets])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    model.fit(features[split == "train"], polarity[split == "train"])
    return model.score(features[split == "test"], polarity[split == "test"])


def test_shapes_types_and_range(rendered):
    for frames, sound in rendered[1][:20]:
        assert frames.shape == (FRAMES, SIZE, SIZE, 3) and frames.dtype == np.uint8
        assert sound.shape == (round(SECONDS * RATE),) and sound.dtype == np.float32
        assert 0.05 < np.abs(sound).max() <= 1


def test_polarity_of_unseen_speakers_shows_even_linearly_in_the_face(rendered):
    puppets, clips = rendered

    def grey(frames):  # the mean frame, 28 x 28
        return frames.mean((0, 3)).reshape(SIZE // 2, 2, SIZE // 2, 2).mean((1, 3)).ravel()

    assert linear_accuracy([grey(frames) for frames, _ in clips], puppets) > 0.65  # the commonest is 0.4


def test_polarity_of_unseen_speakers_shows_even_linearly_in_the_voice(rendered):
    puppets, clips = rendered
    assert linear_accuracy([spectrum(sound) for _, sound in clips], puppets) > 0.7


def test_the_face_moves_a_little(rendered):
    for frames, _ in rendered[1][:20]:
        change = np.abs(np.diff(frames.astype(float), axis=0)).mean((1, 2, 3))
        assert (change > 0.2).all() and (change < 25).all()


def test_energy_is_heard_in_decibels(rendered):
    puppets, clips = rendered
    level = [20 * np.log10(np.sqrt(np.mean(sound**2))) for _, sound in clips]
    assert np.allclose(np.subtract(level, [p.energy for p in puppets]), 20 * np.log10(0.08), atol=0.1)


def test_pitch_is_heard_in_hertz(rendered):
    for p, (_, sound) in list(zip(*rendered, strict=True))[:40]:
        power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 4 * len(sound))) ** 2
        hertz = np.arange(len(power)) * RATE / (4 * len(sound))
        first = (hertz > 90) & (hertz < 1.5 * p.speaker.base_pitch * 2 ** (p.pitch / 12))
        heard = 12 * np.log2((hertz * power)[first].sum() / power[first].sum() / p.speaker.base_pitch)
        assert heard == pytest.approx(p.pitch, abs=2.5)


def test_syllables_come_at_the_tempo():
    loud = syllables(5.0, np.arange(16000) / 16000)
    assert np.sum(np.diff(np.sign(loud - 0.5)) > 0) == 5
