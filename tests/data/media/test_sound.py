import av
import librosa
import numpy as np
import pytest
import soundfile

from emsa_jax.data.media import Broken, read_sound
from emsa_jax.data.media.container import decoded
from emsa_jax.data.media.sound import ONE_CHANNEL, SCALED


def test_sound_of_a_video(clip):
    path = clip(sound=clip.sine(3.0, 44100, 2), rate=44100)
    sound = read_sound(path)
    assert sound.dtype == np.float32 and abs(len(sound) / 16000 - 3.0) < 0.1
    middle = sound[8000:40000]
    assert np.abs(middle).max() == pytest.approx(0.25, abs=0.02)  # two equal channels: loudness stays
    assert np.argmax(np.abs(np.fft.rfft(middle))) == pytest.approx(440 * 2, abs=2)


def test_no_track_and_a_silent_track(clip):
    assert len(read_sound(clip("mute.mp4"))) == 0
    silent = read_sound(clip("silent.mp4", sound=np.zeros((1, 16000), np.float32)))
    assert len(silent) >= 16000 and not silent.any()


def test_sound_shorter_and_longer_than_the_picture(clip):
    assert abs(len(read_sound(clip("a.mp4", frames=30, sound=clip.sine(1.0)))) / 16000 - 1.0) < 0.13
    assert abs(len(read_sound(clip("b.mp4", frames=5, sound=clip.sine(3.0)))) / 16000 - 3.0) < 0.13
    assert len(read_sound(clip("c.mp4", frames=30, sound=clip.sine(1.0)), start=2.0)) == 0  # it has ended by then


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_sound_files_equal_librosa(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (22050, 2)), 22050)
    expected, _ = librosa.load(path, sr=16000, res_type="soxr_hq")
    np.testing.assert_allclose(read_sound(path), expected, atol=1e-5)


def test_sound_alone_in_a_container(clip):
    assert abs(len(read_sound(clip("a.m4a", frames=0, sound=clip.sine(1.0)))) - 16000) < 2100


def test_the_default_of_several_tracks(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=16000, layout="mono") for _ in range(3)]
        for i, track in enumerate(tracks):
            track.disposition = av.stream.Disposition(int(i == 1))
        for i, track in enumerate(tracks):
            frame = av.AudioFrame.from_ndarray(np.full((1, 16000), 1000 * i, np.int16), "s16", "mono")
            frame.sample_rate, frame.pts = 16000, 0
            container.mux(track.encode(frame))
            container.mux(track.encode())
    sound = read_sound(tmp_path / "a.mkv")
    assert len(sound) == 16000 and np.allclose(sound, 1000 / 32768)


def chirp(seconds, rate=16000):
    """A tone that rises by 100 Hz a second, so that its pitch tells the time."""
    t = np.arange(int(seconds * rate)) / rate
    return (0.25 * np.sin(2 * np.pi * (100 * t + 50 * t**2))).astype(np.float32)


def pitch(sound):
    return np.argmax(np.abs(np.fft.rfft(sound * np.hanning(len(sound))))) * 16000 / len(sound)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_a_part_of_a_sound_file_is_exact(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, chirp(20.0), 16000)
    np.testing.assert_array_equal(read_sound(path, start=7.5, end=8.25), read_sound(path)[120_000:132_000])
    assert len(read_sound(path, start=19.5, end=20.2)) == 8000
    with pytest.raises(Broken, match="sound: the clip from 20 to 21 s is not within its 20.00 s"):
        read_sound(path, start=20.0, end=21.0)


@pytest.mark.parametrize("name", ["a.mp4", "a.m4a", "a.mkv", "a.ts", "a.aac", "a.webm"])
def test_a_part_of_a_track(clip, name):
    bare = name in ("a.m4a", "a.aac")
    rate = 48000 if name == "a.webm" else 16000
    sound = chirp(20.0, rate)[None]
    codec = "libvpx-vp9" if name == "a.webm" else "mpeg4"
    path = clip(name, frames=0 if bare else 30, fps=1.5, sound=sound, rate=rate, codec=codec)
    part = read_sound(path, start=7.5, end=8.25)
    assert len(part) == pytest.approx(12_000, abs=1)
    assert pitch(part) == pytest.approx(100 + 100 * 7.875, abs=7)  # 7 Hz are 0.07 s, about one block


def test_of_an_hour_only_the_clip_is_decoded(tmp_path, monkeypatch):
    rate = 2000
    sound = np.zeros((1, 3600 * rate), np.int16)
    sound[:, 3000 * rate :] = 1000
    with av.open(str(tmp_path / "hour.mkv"), "w") as container:
        track = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for start in range(0, sound.shape[1], 10 * rate):
            frame = av.AudioFrame.from_ndarray(sound[:, start : start + 10 * rate], "s16", "mono")
            frame.sample_rate, frame.pts = rate, start
            container.mux(track.encode(frame))
        container.mux(track.encode())
    frames = []

    def counting(*arguments):
        for frame in decoded(*arguments):
            frames.append(frame.samples)
            yield frame

    monkeypatch.setattr("emsa_jax.data.media.sound.decoded", counting)
    part = read_sound(tmp_path / "hour.mkv", start=2999.0, end=3001.0)
    assert len(part) == 32_000 and np.abs(part[:15_000]).max() < 1e-3 < 0.02 < part[17_000:31_000].min()
    assert 0 < sum(frames) < 60 * rate
    with pytest.raises(Broken, match="sound: it is longer than 300 s"):
        read_sound(tmp_path / "hour.mkv")


def test_too_long(clip, tmp_path):
    with pytest.raises(Broken, match="sound: it is longer than 2 s"):
        read_sound(clip(frames=30, fps=10, sound=clip.sine(3.0)), max_seconds=2.0)
    soundfile.write(tmp_path / "a.wav", np.zeros(48000), 16000)
    with pytest.raises(Broken, match="sound: it is longer than 2 s"):
        read_sound(tmp_path / "a.wav", max_seconds=2.0)
    assert len(read_sound(tmp_path / "a.wav", max_seconds=2.0, start=1.0)) == 32_000


def test_not_a_number_in_sound(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.0, np.nan]), 16000, subtype="FLOAT")
    with pytest.raises(Broken, match="not finite"):
        read_sound(tmp_path / "a.wav")


def test_a_file_without_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    with pytest.raises(Broken, match="sound: it has no samples"):
        read_sound(tmp_path / "a.wav")


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_floating_point_of_the_16_bit_scale_is_divided_and_told(tmp_path, subtype):
    wave = chirp(1.0)
    soundfile.write(tmp_path / "a.wav", 32768.0 * wave, 16000, subtype=subtype)
    notes = []
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav", notes=notes), wave, atol=1e-6)
    assert notes == [SCALED]


@pytest.mark.parametrize("peak", [3e38, 2.0**31, 1e6, 127.0, 5.0])
def test_other_scales_are_refused(tmp_path, peak):
    square = peak * np.sign(np.sin(np.arange(44100) / 20))
    soundfile.write(tmp_path / "max44.wav", square, 44100, subtype="FLOAT")
    with pytest.raises(Broken, match="sound: its samples reach .* where the full scale is 1"):
        read_sound(tmp_path / "max44.wav")


@pytest.mark.parametrize("subtype, tolerance", [("PCM_U8", 0.01), ("PCM_16", 1e-4), ("PCM_24", 1e-6), ("PCM_32", 1e-7)])
def test_whole_numbers_have_their_own_scale(tmp_path, subtype, tolerance):
    soundfile.write(tmp_path / "a.wav", chirp(0.5), 16000, subtype=subtype)
    notes = []
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav", notes=notes), chirp(0.5), atol=tolerance)
    assert not notes


def test_a_loud_float_is_no_other_scale(tmp_path):
    soundfile.write(tmp_path / "a.wav", 6 * chirp(0.5), 16000, subtype="FLOAT")  # peak 1.5
    notes = []
    assert np.abs(read_sound(tmp_path / "a.wav", notes=notes)).max() == pytest.approx(1.5, abs=0.01) and not notes


def test_channels_that_cancel_out(tmp_path, clip):
    wave = chirp(1.0)
    soundfile.write(tmp_path / "a.wav", np.stack([wave, -wave], axis=1), 16000)
    notes = []
    np.testing.assert_allclose(read_sound(tmp_path / "a.wav", notes=notes), wave, atol=1e-4)
    assert notes == [ONE_CHANNEL]
    opposite = np.concatenate([clip.sine(1.0), -clip.sine(1.0)])
    assert np.abs(read_sound(clip(sound=opposite), notes=notes)).max() > 0.2
    soundfile.write(tmp_path / "b.wav", np.stack([wave, 0 * wave], axis=1), 16000)  # one of them silent
    np.testing.assert_allclose(read_sound(tmp_path / "b.wav"), wave / 2, atol=1e-4)
