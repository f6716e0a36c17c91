"""Files of cues, and what is wrong with them."""

import json

import pytest

from emsa_jax.cues.cue_files import read_cues
from emsa_jax.errors import InputError

CUES = {"a": {"visual": ["smiles"], "auditory": [], "emotional": ["glad"]}, "b": {"visual": ["nods"]}}


def put(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_both_forms_give_the_same_and_absent_is_not_empty(tmp_path):
    plain, none = read_cues(put(tmp_path / "cues.json", CUES), "config.gold")
    ours = {"a": {"visual": ["smiles"], "audio": [], "global": ["glad"]}, "b": {"visual": ["nods"]}}
    lines = "".join(json.dumps({"id": clip, "subtitle": "", "cues": cues}) + "\n" for clip, cues in ours.items())
    assert (plain, none) == (CUES, {}) == read_cues(put(tmp_path / "cues.jsonl", lines), "config.gold")
    assert "emotional" not in plain["b"]


def test_descriptions_stand_in_place_of_cues(tmp_path):
    text = "In the video, she smiles. In the audio, her voice is soft. Overall, she is glad."
    wanted = {"visual": ["she smiles."], "auditory": ["her voice is soft."], "emotional": ["she is glad."]}
    assert read_cues(put(tmp_path / "cues.json", {"a": text}), "config.gold") == ({"a": wanted}, {"a": text})
    row = json.dumps({"id": "a", "description": text})
    assert read_cues(put(tmp_path / "cues.jsonl", row), "config.gold") == ({"a": wanted}, {"a": text})
    both = json.dumps({"id": "a", "description": text, "cues": {"visual": []}})
    assert read_cues(put(tmp_path / "cues.jsonl", both), "config.gold") == ({"a": {"visual": []}}, {"a": text})


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("gone.json", None, "cannot be read"),
        ("gone.jsonl", None, "cannot be read"),
        ("cues.json", "{", "cannot be read"),
        ("cues.json", [1], "holds no object of clips"),
        ("cues.json", '{"a": {}, "a": {}}', "'a' is given twice"),
        ("cues.json", {"a": ["smiles"]}, "clip 'a': wants lists of cues by kind"),
        ("cues.json", {"a": {"visaul": ["smiles"]}}, "did you mean 'visual'"),
        ("cues.json", {"a": {"visual": "smiles"}}, "must be a list of strings, and 'smiles' is none"),
        ("cues.json", {"a": {"visual": ["smiles", 3]}}, "must be a list of strings, and 3 is none"),
        ("cues.json", {"a": {"visual": None}}, "must be a list of strings"),
        ("cues.json", {"a": {"audio": [], "auditory": []}}, "auditory cues are given twice"),
        ("cues.jsonl", '{"id": "a", "cues": {}}\n{"id": "a", "cues": {}}', "line 2: clip 'a' is given twice"),
        ("cues.jsonl", '{"cues": {}}', "line 1: wants an id"),
        ("cues.jsonl", "no json", "missing or damaged"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, name, content, words):
    path = tmp_path / name
    if content is not None:
        put(path, content)
    with pytest.raises(InputError, match=words) as error:
        read_cues(path, "config.gold")
    assert "\n" not in str(error.value)
