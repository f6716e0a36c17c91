from functools import partial

import av
import numpy as np
import pytest
from av.stream import Disposition

from emsa_jax.data.media import Broken, per_second, read_frames, uniform
from emsa_jax.data.media.container import decoded

BOUNDS = (784, 100_352)
IDENTITY = b"".join(n.to_bytes(4, "big") for n in (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30))
CLOCKWISE = b"".join((n % 2**32).to_bytes(4, "big") for n in (0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30))


def read(path, num_frames, **keywords):
    return read_frames(path, partial(uniform, num_frames=num_frames), *BOUNDS, **keywords)


def greys(frames):
    """The numbers of frames whose grey is 8 times their number."""
    return np.round(frames.images.mean(axis=(1, 2, 3)) / 8).astype(int).tolist()


def test_frames_are_spread_evenly(clip):
    frames = read(clip(frames=30, fps=10), 7)
    assert frames.images.shape == (7, 56, 84, 3) and frames.images.dtype == np.uint8
    assert greys(frames) == np.round(np.linspace(0, 29, 7)).tolist()
    assert frames.rate == pytest.approx(7 / 3.0)


def test_fewer_frames_than_asked_for(clip):
    frames = read(clip(frames=3, fps=10), 16)
    assert len(frames.images) == 3 and frames.rate == pytest.approx(10.0)
    alone = read(clip(frames=1, fps=10), 16)
    assert len(alone.images) == 1 and alone.rate == pytest.approx(10.0)


def test_frames_a_second(clip):
    frames = read_frames(clip(frames=30, fps=10), partial(per_second, fps=2.0, min_frames=4, max_frames=768), *BOUNDS)
    assert greys(frames) == np.round(np.linspace(0, 29, 6)).tolist() and frames.rate == pytest.approx(2.0)


def test_variable_frame_rate(clip):
    times = np.concatenate([np.arange(10) * 0.02, 0.2 + np.arange(11) * 0.3])
    frames = read(clip(frames=21, fps=30, times=times), 4)
    assert greys(frames) == [0, 13, 16, 20]  # seen at 0, 1.12, 2.08 and 3.2 s: places 0, 7, 13 and 20 of 21 in 3.2 s
    assert frames.rate == pytest.approx(4 / (3.2 * 21 / 20), rel=0.02)
    held = np.concatenate([np.arange(10) * 0.1, 5.0 + np.arange(11) * 0.1])  # a screen on which nothing moves
    assert greys(read(clip("held.mkv", frames=21, fps=30, times=held), 7)) == [0, 9, 9, 9, 9, 11, 20]


@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("a.mp4", "libx264", {"bf": "2"}),
        ("a.mkv", "libx264", {"bf": "2"}),
        ("a.ts", "libx264", {"bf": "2"}),
        ("a.avi", "mpeg4", {"bf": "2"}),
        ("a.mov", "mjpeg", {}),
        ("a.webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    ],
)
def test_containers_and_codecs_whole_and_in_part(clip, name, codec, options):
    path = clip(name, frames=30, codec=codec, gop=8, options=options)
    assert greys(read(path, 4)) == [0, 10, 19, 29]
    first = 1 if name == "a.avi" else 0  # which has no times of showing: held back B frames come a frame late
    part = read(path, 99, start=1.1, end=1.5)
    assert greys(part) == [n - first for n in (11, 12, 13, 14)] and part.rate == pytest.approx(10.0, rel=0.01)
    assert greys(read(path, 99, start=2.75))[-2:] == [28, 29]


def test_odd_sizes_become_multiples_of_28(clip):
    assert read(clip(size=(61, 83)), 2).images.shape == (2, 56, 84, 3)


def test_rotation_mark_is_applied(clip, tmp_path):
    image = np.zeros((1, 56, 112, 3), np.uint8)
    image[:, :, :56] = 255  # bright on the left, so on the top once turned clockwise
    path = clip.write(tmp_path / "phone.mp4", image)
    content = path.read_bytes()
    at = content.index(IDENTITY, content.index(b"tkhd"))
    path.write_bytes(content[:at] + CLOCKWISE + content[at + len(CLOCKWISE) :])
    turned = read(path, 1).images[0]
    assert turned.shape == (112, 56, 3)
    assert turned[:40].mean() > 240 and turned[-40:].mean() < 15


def write_streams(path, sizes, pictures=(), default=None):
    """One video stream a size, all of one grey, 40 times the stream's number; some as pictures beside the sound."""
    with av.open(str(path), "w") as container:
        streams = []
        for i, (height, width) in enumerate(sizes):
            stream = container.add_stream("mjpeg" if i in pictures else "mpeg4", rate=10)
            stream.height, stream.width = height, width
            stream.pix_fmt = "yuvj420p" if i in pictures else "yuv420p"
            stream.disposition = Disposition.attached_pic if i in pictures else Disposition(int(i == default))
            streams.append(stream)
        for i, stream in enumerate(streams):
            for _ in range(1 if i in pictures else 5):
                image = np.full((stream.height, stream.width, 3), 40 * i, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    return path


def test_the_best_of_several_streams(tmp_path):
    largest = read(write_streams(tmp_path / "a.mkv", [(56, 84), (112, 112), (84, 56)]), 2)
    assert largest.images.shape == (2, 112, 112, 3) and abs(largest.images.mean() - 40) < 3
    chosen = read(write_streams(tmp_path / "b.mkv", [(56, 84), (112, 112), (84, 56)], default=2), 2)
    assert chosen.images.shape == (2, 84, 56, 3) and abs(chosen.images.mean() - 80) < 3


def test_a_cover_is_no_video(tmp_path, clip):
    both = read(write_streams(tmp_path / "a.mp4", [(448, 448), (56, 84)], pictures=(0,)), 9)
    assert both.images.shape == (5, 56, 84, 3)
    write_streams(tmp_path / "cover.mp4", [(448, 448)], pictures=(0,))
    with pytest.raises(Broken, match="video: it has no video stream"):
        read(tmp_path / "cover.mp4", 4)
    with pytest.raises(Broken, match="video: it has no video stream"):
        read(clip("a.m4a", frames=0, sound=clip.sine(1.0)), 4)


# ---- clip times ----


def packets(path):
    """(seconds, place, size) of each video packet."""
    with av.open(str(path)) as container:
        return [(float(p.pts * p.time_base), p.pos, p.size) for p in container.demux(video=0) if p.size]


def test_of_an_hour_only_the_clip_is_decoded(clip, tmp_path, monkeypatch):
    images = np.broadcast_to((np.arange(1800) % 32 * 8).astype(np.uint8)[:, None, None, None], (1800, 28, 28, 3))
    path = clip.write(tmp_path / "hour.mp4", images, fps=10, times=2.0 * np.arange(1800), gop=10)
    frames = []

    def counting(*arguments):
        for frame in decoded(*arguments):
            frames.append(frame)
            yield frame

    monkeypatch.setattr("emsa_jax.data.media.video.decoded", counting)
    whole = read(path, 5, start=3000.0, end=3010.0)
    assert 5 <= len(frames) < 20
    assert greys(whole) == [n % 32 for n in range(1500, 1505)] and whole.rate == pytest.approx(0.5)
    content = bytearray(path.read_bytes())
    for seconds, place, size in packets(path):
        if not 2980 <= seconds < 3010:  # its key frame is at 3000 or before
            content[place : place + size] = bytes(size)
    path.write_bytes(content)
    np.testing.assert_array_equal(read(path, 5, start=3000.0, end=3010.0).images, whole.images)
    with pytest.raises(Broken):
        read(path, 5, start=2900.0, end=2910.0)
    with pytest.raises(Broken, match="video: it is longer than 300 s"):
        read(path, 5)


def test_the_length_limit_is_the_clips(clip):
    path = clip(frames=30, fps=10)
    with pytest.raises(Broken, match="video: it is longer than 2 s"):
        read(path, 4, max_seconds=2.0)
    assert len(read(path, 4, max_seconds=2.0, start=0.5, end=2.4).images) == 4


@pytest.mark.parametrize(
    "start, end, reason",
    [
        (1.0, 1.0, "the clip from 1 to 1 s is empty"),
        (-1.0, 1.0, "the clip from -1 to 1 s is empty"),
        (float("nan"), 1.0, "is empty"),
        (3.0, None, "the clip from 3 to the end is not within its 3.00 s"),
        (1.0, 4.0, "the clip from 1 to 4 s is not within its 3.00 s"),
        (1.01, 1.09, "the clip from 1.01 to 1.09 s has no frames"),
    ],
)
def test_clip_times_that_name_nothing(clip, start, end, reason):
    with pytest.raises(Broken, match=f"video: .*{reason}"):
        read(clip(frames=30, fps=10), 4, start=start, end=end)


def test_a_clip_may_overrun_its_file_a_little(clip):
    assert greys(read(clip(frames=30, fps=10), 99, start=2.7, end=3.2)) == [27, 28, 29]
