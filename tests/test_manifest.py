import errno
import os
import random

import pytest

from emsa_jax.errors import InputError
from emsa_jax.manifest import (
    NAME,
    _encode,
    read_manifest,
    require_sound,
    staged,
    verify,
    write_atomic,
    write_manifest,
    write_together,
)


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.bin").write_bytes(random.Random(0).randbytes(3000))
    (tmp_path / "deep" / "er" / "b.txt").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    write_manifest(tmp_path, {"step": 3})
    return tmp_path


def test_files_are_written_together_or_not_at_all(tmp_path):
    write_together(tmp_path, {"a": b"1", "b": b"2"})
    (tmp_path / "c").mkdir()
    with pytest.raises(IsADirectoryError):
        write_together(tmp_path, {"a": b"3", "c": b"4"})
    with pytest.raises(OSError):
        write_together(tmp_path, {"a": b"3", "x" * 300: b"4"})
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "c"} and (tmp_path / "a").read_bytes() == b"1"


def test_a_full_disk_leaves_nothing_and_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for directory in (tmp_path / "full", tmp_path / "file" / "below"):
        with (
            pytest.raises(InputError, match=f"{directory}:? cannot be written: "),
            staged(directory) as part,
        ):
            (part / "a").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_sound(tree):
    assert verify(tree) == []
    body = read_manifest(tree)
    assert sorted(body["files"]) == ["a.bin", "deep/er/b.txt", "empty"] and body["extra"] == {"step": 3}
    assert body["files"]["deep/er/b.txt"]["size"] == 5


def test_every_kind_of_damage_is_named(tree):
    os.remove(tree / "deep" / "er" / "b.txt")
    (tree / "new").write_text("x")
    (tree / "empty").write_text("y")
    data = bytearray((tree / "a.bin").read_bytes())
    data[100] ^= 4
    (tree / "a.bin").write_bytes(data)
    assert verify(tree) == [
        "deep/er/b.txt is missing",
        f"new is not in {NAME}",
        "a.bin has changed since it was written",
        "empty has 1 bytes instead of 0",
    ]


def test_every_flip_in_the_manifest_is_seen(tree):
    path = tree / NAME
    sound = path.read_bytes()
    for position in range(len(sound)):
        data = bytearray(sound)
        data[position] ^= 1 << position % 8
        path.write_bytes(data)
        with pytest.raises(ValueError, match="damaged"):
            read_manifest(tree)
    path.write_bytes(sound)
    assert verify(tree) == []


@pytest.mark.parametrize(
    "body",
    [
        {"files": [], "extra": {}},
        {"files": {"a": 5}, "extra": {}},
        {"files": {"a": {"size": 1}}, "extra": {}},
        {"files": {}, "extra": None},
        {"extra": {}},
    ],
)
def test_manifests_that_somebody_made(tree, body):
    """Their own hash holds."""
    (tree / NAME).write_bytes(_encode(body))
    assert verify(tree) == [f"{NAME} is damaged"]
    with pytest.raises(InputError, match="damaged"):
        require_sound(tree)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"files": 3}', b"\xff\xfe", b"[" * 100_000])
def test_strange_manifests(tree, data):
    (tree / NAME).write_bytes(data)
    assert verify(tree) == [f"{NAME} is damaged"]


def test_missing_manifest_or_directory(tree, tmp_path):
    os.remove(tree / NAME)
    assert verify(tree) == verify(tmp_path / "nowhere") == [f"{NAME} is missing or unreadable"]


def test_links_are_refused(tree):
    os.remove(tree / "a.bin")
    os.symlink("/dev/zero", tree / "a.bin")
    assert verify(tree) == ["a.bin is not a plain file"]
    with pytest.raises(OSError, match="plain file"):
        write_manifest(tree)


def test_write_atomic_replaces_whole(tmp_path):
    write_atomic(tmp_path / "f", b"one")
    write_atomic(tmp_path / "f", b"two")
    assert (tmp_path / "f").read_bytes() == b"two" and os.listdir(tmp_path) == ["f"]


def test_require_sound(tree, tmp_path):
    require_sound(tree)
    require_sound(tmp_path / "deep")  # no manifest: not ours to judge
    (tree / "empty").write_text("y")
    with pytest.raises(InputError, match="empty has 1 bytes"):
        require_sound(tree)
