"""Picture and sound that do not begin at the same time are aligned by their time stamps: a flash and a click at 1 s."""

from fractions import Fraction
from functools import partial

import av
import numpy as np
import pytest

from emsa_jax.data.media import Broken, read_frames, read_sound, uniform
from emsa_jax.data.media.sound import LATE as LATE_SOUND
from emsa_jax.data.media.video import LATE as LATE_PICTURE

FPS, RATE, EVENT, LENGTH = 25, 16000, 1.0, 3.0


def write(path, picture_at, sound_at, codec="mpeg4", gap=0.0):
    """A file in which both the flash and the click are at EVENT; each track begins where it is said to. gap: seconds of
    sound that are lacking, from 2 s on."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=FPS)
        video.height, video.width, video.pix_fmt = 56, 84, "yuv420p"
        audio = container.add_stream("pcm_s16le" if str(path).endswith(".mkv") else "aac", rate=RATE, layout="mono")
        for i in range(round(picture_at * FPS), round(LENGTH * FPS)):
            image = np.full((56, 84, 3), 255 if i == round(EVENT * FPS) else 16, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        wave = 0.01 * np.random.default_rng(0).standard_normal(round(LENGTH * RATE))
        wave[round(EVENT * RATE) : round(EVENT * RATE) + 80] = 0.9
        wave = (32767 * wave).astype(np.int16)
        for start in range(round(sound_at * RATE), len(wave), 1024):
            if 2.0 <= start / RATE < 2.0 + gap:
                continue
            kind = "s16" if str(path).endswith(".mkv") else "fltp"
            block = wave[None, start : start + 1024]
            block = block if kind == "s16" else (block / 32768).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), kind, "mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def flash_and_click(path, **span):
    """(seconds of the brightest frame, of the loudest sample, notes), each from the record's beginning."""
    notes = []
    frames = read_frames(path, partial(uniform, num_frames=1000), 784, 100_352, notes=notes, **span)
    sound = read_sound(path, notes=notes, **span)
    return frames.images.mean(axis=(1, 2, 3)).argmax() / frames.rate, np.abs(sound).argmax() / RATE, notes


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@pytest.mark.parametrize(
    "picture_at, sound_at, note", [(0.0, 0.0, []), (0.0, 0.6, [LATE_SOUND]), (0.4, 0.0, [LATE_PICTURE])]
)
def test_flash_and_click_are_at_the_same_time(tmp_path, name, picture_at, sound_at, note):
    flash, click, notes = flash_and_click(write(tmp_path / name, picture_at, sound_at))
    assert (flash, click) == (pytest.approx(EVENT, abs=0.03), pytest.approx(EVENT, abs=0.03))
    assert notes == note


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_in_a_part_of_a_file_too(tmp_path, name):
    path = write(tmp_path / name, 0.0, 0.6)
    assert flash_and_click(path, start=0.2, end=2.0)[:2] == (
        pytest.approx(EVENT - 0.2, abs=0.03),
        pytest.approx(EVENT - 0.2, abs=0.03),
    )
    assert flash_and_click(path, start=0.8, end=2.0)[:2] == (
        pytest.approx(EVENT - 0.8, abs=0.03),
        pytest.approx(EVENT - 0.8, abs=0.03),
    )


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.flv"])
def test_in_a_part_that_begins_before_the_picture(tmp_path, name):
    """The sound from there on is heard, and not only from the first picture on; FLV cannot be sought before 0."""
    path = write(tmp_path / name, 0.6, 0.0, "flv" if name == "a.flv" else "mpeg4")
    flash, click, notes = flash_and_click(path, start=0.3, end=2.0)
    assert flash == pytest.approx(click, abs=0.06) and click == pytest.approx(EVENT - 0.3, abs=0.1)
    assert notes == [LATE_PICTURE]
    begin = read_sound(path, start=0.3, end=2.0)[: RATE // 10]
    assert np.abs(begin).max() > 0.005  # its noise, no silence


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_of_a_file_that_was_cut_out_of_a_longer_one(tmp_path, name, monkeypatch):
    """Whose time stamps begin where it was cut, the sound's later than the picture's."""
    monkeypatch.setattr(f"{__name__}.LENGTH", 8.0)
    monkeypatch.setattr(f"{__name__}.EVENT", 6.0)
    path = write(tmp_path / name, 5.0, 5.6)
    flash, click, notes = flash_and_click(path)
    assert (flash, click) == (pytest.approx(1.0, abs=0.03), pytest.approx(1.0, abs=0.03)) and notes == [LATE_SOUND]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(Broken):
        read_frames(path, partial(uniform, num_frames=4), 784, 100_352)


def test_a_gap_in_the_sound_is_silence(tmp_path):
    whole, gap = (read_sound(write(tmp_path / f"{gap}.mkv", 0.0, 0.0, gap=gap)) for gap in (0.0, 0.2))
    assert len(gap) == len(whole) and np.abs(gap - whole)[: 2 * RATE].max() == 0
    assert not gap[round(2.1 * RATE) : round(2.15 * RATE)].any()
    np.testing.assert_array_equal(gap[round(2.3 * RATE) :], whole[round(2.3 * RATE) :])


def test_a_record_interleaves_what_belongs_together(tmp_path):
    """Of a file whose sound begins late, the frame and the log-mel of the same moment have the same place."""
    from emsa_jax.data.data_options import PrepareOptions
    from emsa_jax.data.encode import encode
    from emsa_jax.data.records import unpack
    from emsa_jax.data.sample import Sample

    path = str(write(tmp_path / "a.mkv", 0.0, 0.6))
    clip = unpack(encode(Sample("a", "", 0.0, "train", path), "0" * 64, PrepareOptions(num_frames=75)))
    flash = clip.frames.mean(axis=(1, 2, 3)).argmax() / clip.frame_rate
    assert flash == pytest.approx(EVENT, abs=0.03)
    assert clip.mel.mean(axis=1).argmax() / 100 == pytest.approx(EVENT, abs=0.03)
    assert clip.notes[0] == LATE_SOUND
