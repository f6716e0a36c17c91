"""What a policy says it was trained for: written, read, and crafted files."""

import json

import pytest

from emsa_jax.errors import InputError
from emsa_jax.policy.trained_for import NAME, TrainedFor, differences, read_trained_for, write_trained_for

LEARNED = TrainedFor(
    format="concepts",
    score_range=(-3.0, 3.0),
    language="zh",
    modalities=("text", "video"),
    audio_in_video=True,
    capitals="lowered",
    num_frames=4,
    fps=0.5,
    max_pixels=3136,
    classes=5,
    concepts=("event", "面部"),
)


def test_what_is_written_is_read(tmp_path):
    write_trained_for(tmp_path, LEARNED)
    assert read_trained_for(tmp_path) == LEARNED


def test_the_first_directory_that_says_so(tmp_path):
    """An adapter's word goes before its base's; a directory without the file says nothing."""
    for name in ("adapter", "base"):
        (tmp_path / name).mkdir()
    assert read_trained_for(tmp_path / "adapter", None, tmp_path / "base", tmp_path / "missing") is None
    write_trained_for(tmp_path / "base", LEARNED)
    assert read_trained_for(None, tmp_path / "adapter", tmp_path / "base") == LEARNED
    write_trained_for(tmp_path / "adapter", TrainedFor(format="dc", score_range=(-1.0, 1.0)))
    assert read_trained_for(tmp_path / "adapter", tmp_path / "base").format == "dc"


def test_what_a_policy_is_asked_otherwise_than_it_was_trained(tmp_path):
    assert differences((None, tmp_path), format="dc") == []  # nobody knows
    write_trained_for(tmp_path, LEARNED)
    asked = {"format": "dc", "score_range": [-3, 3], "modalities": ("text",), "audio_in_video": True}
    where = f"but {tmp_path / NAME} says that the policy was trained with"
    assert differences((None, tmp_path), **asked) == [
        f"warning: format is dc, {where} concepts",
        f"warning: modalities is ['text'], {where} ['text', 'video']",
    ]


def test_fields_may_be_missing_that_have_a_default(tmp_path):
    (tmp_path / NAME).write_text('{"format": "dc", "score_range": [-1, 1]}')
    assert read_trained_for(tmp_path) == TrainedFor(format="dc", score_range=(-1.0, 1.0))


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"score_range": [3, -3]}, "score_range is"),
        ({"score_range": [-3]}, "score_range is"),
        ({"score_range": "x"}, "score_range is"),
        ({"score_range": [float("nan"), 1]}, "score_range is"),
        ({"score_range": [-1, float("inf")]}, "score_range is"),
        ({"score_range": [-1, 10**400]}, "score_range is"),
        ({"score_range": [True, 2]}, "score_range is"),
        ({"format": 3}, "format is 3"),
        ({"format": "x" * 1000}, "format is"),
        ({"language": None}, "language is None"),
        ({"modalities": ["smell"]}, "modalities is"),
        ({"modalities": []}, "modalities is"),
        ({"modalities": "text"}, "modalities is"),
        ({"modalities": [["text"]]}, "modalities is"),
        ({"audio_in_video": 1}, "audio_in_video is 1"),
        ({"modalities": ["text", "text"]}, "modalities is"),
        ({"capitals": "shouted"}, "capitals is"),
        ({"num_frames": 10**9}, "num_frames is"),
        ({"fps": 1e-9}, "fps is"),
        ({"fps": 10**9}, "fps is"),
        ({"max_pixels": 1}, "max_pixels is 1"),
        ({"max_pixels": 10**9}, "max_pixels is"),
        ({"classes": 0}, "classes is 0"),
        ({"classes": [3]}, "classes is"),
        ({"num_frames": 2.5}, "num_frames is 2.5"),
        ({"num_frames": -1}, "num_frames is -1"),
        ({"num_frames": 2**63}, "num_frames is"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"fps": 10**400}, "fps is"),
        ({"classes": True}, "classes is True"),
        ({"concepts": [1]}, "concepts is"),
        ({"concepts": {"a": 1}}, "concepts is"),
        ({"a_field_of_tomorrow": 1}, "a_field_of_tomorrow is no field"),
    ],
)
def test_what_cannot_be_meant_is_one_line(tmp_path, changed, message):
    write_trained_for(tmp_path, LEARNED)
    raw = json.loads((tmp_path / NAME).read_text())
    (tmp_path / NAME).write_text(json.dumps(raw | changed))
    with pytest.raises(InputError, match=f"{NAME}: {message}") as caught:
        read_trained_for(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "content, message",
    [
        (b"{", "not JSON"),
        (b"[]", "not an object"),
        (b"[" * 50_000, "not JSON"),
        (b'{"format": "dc"}', "score_range is missing"),
        (b'{"format": "dc", "format": "dc"}', "given twice"),
        (b" " * 200_000, "larger than"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, content, message):
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(InputError, match=f"{NAME}: .*{message}"):
        read_trained_for(tmp_path)
