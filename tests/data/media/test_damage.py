"""Files that are cut, damaged or no media at all: a reason each, never half of a clip."""

from functools import partial

import av
import numpy as np
import pytest

from emsa_jax.data.media import Broken, read_frames, read_sound, uniform


def read(path, num_frames=8):
    return read_frames(path, partial(uniform, num_frames=num_frames), 784, 100_352)


def noise(frames=40, size=(56, 84)):
    return np.random.default_rng(0).integers(0, 256, (frames, *size, 3), dtype=np.uint8)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_cut_mp4_with_its_index_in_front(clip, tmp_path, share):
    """As web files have it: such a file opens, and frames then miss without an error."""
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
    front.write_bytes(front.read_bytes()[: int(share * front.stat().st_size)])
    with pytest.raises(Broken, match="video: "):
        read(front)
    with pytest.raises(Broken, match="sound: "):
        read_sound(front)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.7])
def test_cut_containers(clip, tmp_path, name, share):
    path = clip.write(tmp_path / name, noise())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(Broken, match="video: "):
        read(path)


@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("a.mp4", "mpeg4", {}),
        ("a.mp4", "libx264", {}),
        ("a.mp4", "libx265", {"x265-params": "log-level=none"}),
        ("a.mkv", "libx264", {}),
        ("a.mov", "mjpeg", {}),
    ],
)
@pytest.mark.parametrize("filler", [0, 255])
def test_a_corrupt_frame_in_the_middle(clip, tmp_path, name, codec, options, filler):
    path = clip.write(tmp_path / name, noise(), codec=codec, gop=12, options=options)
    assert len(read(path).images) == 8
    with av.open(str(path)) as container:
        place, size = [(p.pos, p.size) for p in container.demux(video=0) if p.size][17]
    content = bytearray(path.read_bytes())
    content[place + 8 : place + size] = bytes([filler]) * (size - 8)
    path.write_bytes(content)
    with pytest.raises(Broken, match="video: "):
        read(path)


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
