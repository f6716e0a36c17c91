import librosa
import numpy as np
import pytest
import soundfile

from emsa_jax.data.media import Broken, read_frames, read_sound

BOUNDS = (784, 100_352)
IDENTITY = b"".join(n.to_bytes(4, "big") for n in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
CLOCKWISE = b"".join((n % 2**32).to_bytes(4, "big") for n in (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))


def test_frames_are_spread_evenly(clip):
    frames = read_frames(clip(frames=30, fps=10), 7, *BOUNDS)
    assert frames.images.shape == (7, 56, 84, 3) and frames.images.dtype == np.uint8
    expected = 8 * np.round(np.linspace(0, 29, 7))
    np.testing.assert_allclose(frames.images.mean(axis=(1, 2, 3)), expected, atol=4)
    assert frames.rate == pytest.approx(7 / 3.0)


def test_fewer_frames_than_asked_for(clip):
    frames = read_frames(clip(frames=3, fps=10), 16, *BOUNDS)
    assert len(frames.images) == 3 and frames.rate == pytest.approx(10.0)
    assert read_frames(clip(frames=1, fps=10), 16, *BOUNDS).images.shape[0] == 1


def test_variable_frame_rate(clip):
    times = np.concatenate([np.arange(10) * 0.02, 0.2 + np.arange(11) * 0.3])
    frames = read_frames(clip(frames=21, fps=30, times=times), 4, *BOUNDS)
    np.testing.assert_allclose(
        frames.images.mean(axis=(1, 2, 3)), 8 * np.round(np.linspace(0, 20, 4)), atol=4
    )
    assert frames.rate == pytest.approx(4 / (3.2 * 21 / 20), rel=0.02)


def test_odd_sizes_become_multiples_of_28(clip):
    frames = read_frames(clip(size=(61, 83)), 2, *BOUNDS)
    assert frames.images.shape == (2, 56, 84, 3)


def test_rotation_mark_is_applied(clip, tmp_path):
    image = np.zeros((1, 56, 112, 3), np.uint8)
    image[:, :, :56] = 255  # bright on the left, so on the top once turned clockwise
    path = clip.write(tmp_path / "phone.mp4", image)
    content = path.read_bytes()
    at = content.index(IDENTITY, content.index(b"tkhd"))
    path.write_bytes(content[:at] + CLOCKWISE + content[at + len(CLOCKWISE) :])
    turned = read_frames(path, 1, *BOUNDS).images[0]
    assert turned.shape == (112, 56, 3)
    assert turned[:40].mean() > 240 and turned[-40:].mean() < 15


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


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_sound_files_equal_librosa(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, (22050, 2)), 22050)
    expected, _ = librosa.load(path, sr=16000, res_type="soxr_hq")
    np.testing.assert_allclose(read_sound(path), expected, atol=1e-5)


def test_sound_alone_in_a_container(clip):
    path = clip("a.m4a", frames=0, sound=clip.sine(1.0))
    assert abs(len(read_sound(path)) - 16000) < 2100
    with pytest.raises(Broken, match="video: it has no video stream"):
        read_frames(path, 4, *BOUNDS)


def test_too_long(clip, tmp_path):
    path = clip(frames=30, fps=10, sound=clip.sine(3.0))
    with pytest.raises(Broken, match="video: it is longer than 2 s"):
        read_frames(path, 4, *BOUNDS, max_seconds=2.0)
    with pytest.raises(Broken, match="sound: it is longer than 2 s"):
        read_sound(path, max_seconds=2.0)
    soundfile.write(tmp_path / "a.wav", np.zeros(48000), 16000)
    with pytest.raises(Broken, match="sound: it is longer than 2 s"):
        read_sound(tmp_path / "a.wav", max_seconds=2.0)


def test_not_a_number_in_sound(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.array([0.0, np.nan]), 16000, subtype="FLOAT")
    with pytest.raises(Broken, match="not finite"):
        read_sound(tmp_path / "a.wav")


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_cut_files_are_broken(clip, tmp_path, share):
    """With its index in front, as web files have it, a cut file opens: frames then miss without an error."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (40, 56, 84, 3), dtype=np.uint8)
    path = clip.write(tmp_path / "a.mp4", noise, sound=rng.uniform(-0.5, 0.5, (1, 64000)).astype(np.float32))
    import av

    front = tmp_path / "front.mp4"
    with av.open(str(path)) as source, av.open(str(front), "w", options={"movflags": "faststart"}) as sink:
        streams = {s.index: sink.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                sink.mux(packet)
    assert len(read_frames(front, 8, *BOUNDS).images) == 8
    front.write_bytes(front.read_bytes()[: int(share * front.stat().st_size)])
    with pytest.raises(Broken, match="video: "):
        read_frames(front, 8, *BOUNDS)
    with pytest.raises(Broken, match="sound: "):
        read_sound(front)


def test_damaged_bytes_give_frames_or_a_reason(clip):
    path = clip(frames=12, sound=clip.sine(1.2))
    content, rng = path.read_bytes(), np.random.default_rng(0)
    reasons = 0
    for _ in range(150):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 20):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        for read in (lambda: read_frames(path, 4, *BOUNDS), lambda: read_sound(path)):
            try:
                read()
            except Broken as error:
                reasons += 1
                assert "\n" not in str(error) and len(str(error)) < 400
    assert reasons > 10


def test_reasons_name_the_file_alone(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(Broken, match="a.mp4") as caught:
        read_frames(tmp_path / "a.mp4", 4, *BOUNDS)
    assert str(tmp_path) not in str(caught.value)
