import os

from emsa_jax.data.sample import Sample
from emsa_jax.data.unnamed import unnamed_files


def test_files_of_the_folders_that_hold_clips(tmp_path):
    for name in ("Raw/v1/1.mp4", "Raw/v1/2.MP4", "Raw/v1/1.wav", "Raw/v2/1.mkv", "Raw/v2/notes.txt", "Raw/v2/.hid.mp4"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in ("set/old/1.mp4", "set/top.wav", "far/1.mp4", "far/2.flac", "far/below/3.mp4"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    samples = [Sample("a", "", 0.0, "train", video=str(tmp_path / "set/Raw/v1/1.mp4"))]
    assert unnamed_files(tmp_path / "set", samples) == (2, ["Raw/v1/2.MP4", "Raw/v2/1.mkv"])
    far = [Sample("b", "", 0.0, "train", audio=str(tmp_path / "far/1.mp4"))]
    assert unnamed_files(tmp_path / "set", far) == (1, [str(tmp_path / "far/2.flac")])
    top = [Sample("c", "", 0.0, "train", audio=str(tmp_path / "set/absent.wav")), *samples]
    assert unnamed_files(tmp_path / "set" / "label.csv", top)[0] == 2
    os.link(tmp_path / "set/Raw/v1/2.MP4", tmp_path / "set/two.wav")
    named = [*samples, Sample("d", "", 0.0, "train", audio=str(tmp_path / "set/two.wav"))]
    assert unnamed_files(tmp_path / "set", named) == (3, ["Raw/v1/2.MP4", "Raw/v2/1.mkv", "top.wav"])
    assert unnamed_files(tmp_path / "set", [Sample("e", "words", 0.0, "train")]) == (0, [])
