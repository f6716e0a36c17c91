"""JSON that cannot be read, or could be read in two ways, is refused in one line that names it."""

import os

import pytest

from emsa_jax.errors import InputError
from emsa_jax.json_file import finite_json, parse_labels, read_json, read_json_rows, read_object, read_saved_json


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1, "a": 2}', "'a' is given twice"),
        (b'["\\ud800"]', "surrogates not allowed"),
        (b"[" * 100_000, "cannot be read"),
        (b"\xff", "cannot be read"),
    ],
)
def test_what_a_person_wrote_is_read_strictly(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"config.merge: .*a.json cannot be read: .*{message}|{message}"):
        read_json(tmp_path / "a.json", "config.merge")
    with pytest.raises(InputError, match="none.json cannot be read: No such file"):
        read_json(tmp_path / "none.json", "config.merge")


def test_saved_files(tmp_path):
    assert read_saved_json(tmp_path / "a.json") is None
    (tmp_path / "a.json").write_text('{"a": NaN}')
    assert set(read_saved_json(tmp_path / "a.json")) == {"a"}
    (tmp_path / "a.json").write_text('{"a')
    with pytest.raises(InputError, match=r"a.json is damaged; look for it$"):
        read_saved_json(tmp_path / "a.json", "look for it")
    (tmp_path / "a.json").write_text('{"a": [1, "x"]}')
    assert read_saved_json(tmp_path / "a.json", kind={"a": [(int, str)]}) == {"a": [1, "x"]}
    with pytest.raises(InputError, match=r"a.json is damaged \(a\[1\] must be a count, not 'x'\); restore it"):
        read_saved_json(tmp_path / "a.json", kind={"a": [int]})


def test_rows(tmp_path):
    (tmp_path / "a.jsonl").write_bytes('{"a": "\ud800\u2028"}\n\n{"a": 1}\n'.encode("utf-8", "surrogatepass"))
    assert read_json_rows(tmp_path / "a.jsonl") == [{"a": "\ud800\u2028"}, {"a": 1}]
    (tmp_path / "a.jsonl").write_text("[1]\n")
    with pytest.raises(InputError, match="not all of its lines are objects"):
        read_json_rows(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="missing or damaged"):
        read_json_rows(tmp_path / "none.jsonl")


def test_numbers_that_json_cannot_say_are_null():
    value = {"a": [1.5, float("nan"), {"b": float("-inf")}], "c": (float("inf"), 2), "d": "NaN", "e": None}
    assert finite_json(value) == {"a": [1.5, None, {"b": None}], "c": [None, 2], "d": "NaN", "e": None}


def test_labels_keep_their_numbers_as_written():
    assert parse_labels('{"a": 0.10, "b": 1e400, "c": NaN}', "f") == {"a": "0.10", "b": "1e400", "c": "NaN"}
    with pytest.raises(InputError, match=r"^f line 2 is not json"):
        parse_labels("[1,\n", "f")
    with pytest.raises(InputError, match=r"^f line 7 is not json"):
        parse_labels("[1,\n", "f line 7")


def test_what_is_no_plain_file_is_named(tmp_path):
    """A half-downloaded directory has links to nothing, which must not read as settings that are not given."""
    path = tmp_path / "config.json"
    assert read_object(path) is None
    path.symlink_to(tmp_path / "blob")
    with pytest.raises(InputError, match="config.json: is a link to a file that is not there"):
        read_object(path)
    (tmp_path / "blob").write_text('{"a": 1}')
    assert read_object(path) == {"a": 1}
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", "/dev/zero"):  # which would be read for ever
        with pytest.raises(InputError, match="is not a plain file"):
            read_object(place)
