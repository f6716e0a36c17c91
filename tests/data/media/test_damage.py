"""Files that are cut, damaged or no media at all: a reason each, never half of a clip."""

from fractions import Fraction
from functools import partial
from types import SimpleNamespace

import av
import numpy as np
import pytest

from emsa_jax.data.media import Broken, read_frames, read_sound, uniform
from emsa_jax.data.media.container import decoded


def read(path, num_frames=8):
    return read_frames(path, partial(uniform, num_frames=num_frames), 784, 100_352)


def noise(frames=40, size=(56, 84)):
    return np.random.default_rng(0).integers(0, 256, (frames, *size, 3), dtype=np.uint8)


@pytest.fixture
def front(clip, tmp_path):
    """An mp4 with its index in front, as web files have it: cut short, it opens, and frames miss without an error."""
    rng = np.random.default_rng(0)
    sound = rng.uniform(-0.5, 0.5, (1, 64000)).astype(np.float32)
    path = clip.write(tmp_path / "a.mp4", noise(), sound=sound)
    front = tmp_path / "front.mp4"
    with av.open(str(path)) as source, av.open(str(front), "w", options={"movflags": "faststart"}) as sink:
        streams = {s.index: sink.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                sink.mux(packet)
    assert len(read(front).images) == 8
    return front


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_cut_mp4_with_its_index_in_front(front, share):
    front.write_bytes(front.read_bytes()[: int(share * front.stat().st_size)])
    with pytest.raises(Broken, match="video: "):
        read(front)
    with pytest.raises(Broken, match="sound: "):
        read_sound(front)


def test_two_frames_cut_off(front):
    with av.open(str(front)) as container:
        places = [p.pos for p in container.demux(video=0) if p.size]
    front.write_bytes(front.read_bytes()[: places[-2]])
    with pytest.raises(Broken, match="video: it is cut short, 38 of 40 frames are there"):
        read(front)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_cut_containers(clip, tmp_path, name, share):
    path = clip.write(tmp_path / name, noise())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(Broken, match="video: "):
        read(path)


@pytest.mark.parametrize(
    "name, codec, options, part",
    [
        ("a.mp4", "mpeg4", {}, slice(8, None)),
        ("a.mp4", "libx264", {}, slice(3000, None)),  # which decoders hide, unless told not to
        ("a.mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}, slice(8, None)),
        ("a.mkv", "libx264", {}, slice(0, None)),  # of which nothing comes, nor of what leans on it, without an error
        ("a.mov", "mjpeg", {}, slice(3000, None)),
    ],
)
@pytest.mark.parametrize("filler", [0, 255])
def test_a_corrupt_frame_in_the_middle(clip, tmp_path, name, codec, options, part, filler):
    path = clip.write(tmp_path / name, noise(80), codec=codec, gop=12, options=options)
    assert len(read(path).images) == 8
    with av.open(str(path)) as container:
        frame = bytes([p for p in container.demux(video=0) if p.size][17])
    damaged = bytearray(frame)
    damaged[part] = bytes([filler]) * len(damaged[part])
    path.write_bytes(path.read_bytes().replace(frame, damaged))
    with pytest.raises(Broken, match="video: "):
        read(path)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_bit_can_not_make_a_frame_vanish(clip, tmp_path, name):
    """One in the head of an mpeg4 frame says that it is not coded: no frame comes, and no error."""
    path = clip.write(tmp_path / name, noise(), gop=12)
    with av.open(str(path)) as container:  # which frames are key frames in noise is the encoder's whim
        frame = next(bytes(p) for p in container.demux(video=0) if p.size and not p.is_keyframe)
    content = path.read_bytes()
    place, broken = content.index(frame), 0
    for bit in range(64):
        damaged = bytearray(content)
        damaged[place + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert len(read(path, 99).images) == 40, bit
        except Broken as error:
            broken += "39 of 40 frames decode" in str(error)
    assert broken


def test_a_frame_that_the_decoder_calls_corrupt():
    """Most raise an error instead."""
    frames = [SimpleNamespace(pts=pts, is_corrupt=pts in (1, 4)) for pts in range(6)]
    packets = [SimpleNamespace(pts=frame.pts, dts=frame.pts, size=1, decode=lambda f=frame: [f]) for frame in frames]
    container = SimpleNamespace(demux=lambda stream: packets)
    stream = SimpleNamespace(time_base=Fraction(1, 2), codec_context=SimpleNamespace(decode=lambda packet: []))
    assert list(decoded(container, stream, 2, 4)) == frames[:4]  # the first is before the clip, the other behind it
    with pytest.raises(Broken, match="its frame at 2.00 s is damaged"):
        list(decoded(container, stream, 2, 5))


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 4096, b"this is not a video\n" * 50, b"1\n00:00:00,000 --> 00:00:01,000\nhi\n", b"RIFF\0\0\0\0AVI "],
)
@pytest.mark.parametrize("name", ["a.mp4", "a.wav", "a.flac", "a.mp3"])
def test_files_that_are_no_media(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Broken, match="video: "):
        read(tmp_path / name)
    with pytest.raises(Broken, match="sound: "):
        read_sound(tmp_path / name)


def test_a_list_of_other_files_is_not_followed(clip, tmp_path):
    clip("other.mp4")
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    with pytest.raises(Broken, match="video: it is a list of files, not media"):
        read(tmp_path / "a.mp4")


def test_names_in_another_encoding_do_no_harm(clip, tmp_path):
    with av.open(str(clip("a.mp4"))) as source, av.open(str(tmp_path / "b.mkv"), "w") as sink:
        sink.metadata["title"] = "TITLE---"
        stream = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                sink.mux(packet)
    content = (tmp_path / "b.mkv").read_bytes()
    (tmp_path / "b.mkv").write_bytes(content.replace(b"TITLE---", "情感分析".encode("gb18030")))
    assert len(read(tmp_path / "b.mkv").images) == 8


def test_damaged_bytes_give_frames_or_a_reason(clip):
    path = clip(frames=12, sound=clip.sine(1.2))
    content, rng = path.read_bytes(), np.random.default_rng(0)
    reasons = 0
    for _ in range(150):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 20):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        for attempt in (read, read_sound):
            try:
                attempt(path)
            except Broken as error:
                reasons += 1
                assert "\n" not in str(error) and len(str(error)) < 400
    assert reasons > 10


def test_reasons_name_the_file_alone(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    with pytest.raises(Broken, match="a.mp4") as caught:
        read(tmp_path / "a.mp4")
    assert str(tmp_path) not in str(caught.value)


def test_noise_is_said_to_be_no_media(tmp_path):
    (tmp_path / "a.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    with pytest.raises(Broken) as caught:
        read(tmp_path / "a.mp4")
    assert str(caught.value) == "video: a.mp4 has no format that can be decoded, or is damaged (InvalidDataError)"
