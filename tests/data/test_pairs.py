"""Lists of clips and captions, and what is wrong with them."""

import json

import pytest

from emsa_jax.data.pairs import read_pairs
from emsa_jax.errors import InputError


@pytest.fixture
def put(tmp_path):
    """(rows or text) -> the list, beside clips a.wav and b.wav."""

    def put(rows):
        for name in "ab":
            (tmp_path / f"{name}.wav").touch()
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "pairs.jsonl").write_text(text)
        return tmp_path / "pairs.jsonl"

    return put


A, B = ({"id": name, "path": f"{name}.wav", "caption": f"the voice of {name}"} for name in "ab")


def test_rows_in_their_order(put, tmp_path):
    pairs = read_pairs(put([B, A, A | {"id": "c", "split": "test"}]), "config.pairs")
    assert [(pair.id, pair.split) for pair in pairs] == [("b", "train"), ("a", "train"), ("c", "test")]
    assert pairs[0].path == tmp_path / "b.wav" and pairs[0].caption == "the voice of b"


@pytest.mark.parametrize(
    "rows, words",
    [
        ([A], "at least two clips"),
        ([A, B | {"split": "test"}], "at least two clips"),
        ([A, B | {"caption": " "}], "line 2: caption is missing"),
        ([A, {"id": "b", "path": "b.wav"}], "line 2: caption is missing"),
        ([A, B | {"path": "gone.wav"}], "line 2: .*gone.wav is not there"),
        ([A, B | {"id": "a"}], "clip 'a' is given twice"),
        ([A, B | {"split": "dev"}], "split 'dev' is none of"),
        ("{", "missing or damaged"),
    ],
)
def test_what_is_wrong_is_one_line(put, rows, words):
    with pytest.raises(InputError, match=words) as error:
        read_pairs(put(rows), "config.pairs")
    assert "\n" not in str(error.value)


def test_no_list(tmp_path):
    with pytest.raises(InputError, match="config.pairs: .*no such file"):
        read_pairs(tmp_path / "pairs.jsonl", "config.pairs")
