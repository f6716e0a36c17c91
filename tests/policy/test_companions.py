"""What goes along when a policy is written anew: settings and papers, no code, nothing from outside."""

import json
import logging

import pytest

from emsa_jax.policy import hf
from emsa_jax.policy.companions import copy_companions, without_code


@pytest.fixture
def copied(tmp_path, caplog):
    """(files in source, ...) -> what of them is copied; text of a log."""
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()

    def copy(speaks=False):
        with caplog.at_level(logging.WARNING):
            copy_companions(tmp_path / "source", tmp_path / "target", speaks)
        return {path.name: path.read_text() for path in (tmp_path / "target").iterdir()}

    return copy


def test_settings_and_papers_go_along(tmp_path, copied):
    kept = ["tokenizer.json", "chat_template.jinja", "merges.txt", "LICENSE", "NOTICE.txt", "SOURCE.md", "x.tiktoken"]
    kept += ["LICENSE-2.0", "LICENCE.rst"]
    left = ["config.json", "MANIFEST.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"]
    left += [
        "LICENSE.py",
        "SOURCE_evil.sh",
        "NOTICE.so.1",
        "modeling_evil.py",
        "evil.so",
        "run.sh",
        "data.pkl",
        "x.pyc",
        "notebook.ipynb",
        "spk_dict.pt",
        "x.pt",
    ]
    for name in kept + left:
        (tmp_path / "source" / name).write_text("{}")
    (tmp_path / "source/folder.json").mkdir()
    assert sorted(copied()) == sorted(kept)
    assert sorted(copied(speaks=True)) == sorted([*kept, "spk_dict.pt"])


def test_names_of_code_are_left_out_however_deep(tmp_path, copied):
    raw = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "kept": [{"auto_map": 1, "x": "é"}], "text": "auto_map"}
    (tmp_path / "source/tokenizer_config.json").write_text(json.dumps(raw))
    (tmp_path / "source/plain.json").write_text('{"a":   1}')
    (tmp_path / "source/spelt.json").write_text('{"auto\\u005fmap": {"AutoTokenizer": "evil.Evil"}, "b": 1}')
    files = copied()
    assert json.loads(files["tokenizer_config.json"]) == {"kept": [{"x": "é"}], "text": "auto_map"}
    assert json.loads(files["spelt.json"]) == {"b": 1}
    assert files["plain.json"] == '{"a":   1}'  # to the byte
    assert without_code(raw)["kept"] == [{"x": "é"}]


def test_links_out_of_the_directory_are_not_followed(tmp_path, copied, caplog):
    """A key that somebody links to as a README is not published; a hub's cache, which holds nothing but links, is."""
    (tmp_path / "key").write_text("secret")
    (tmp_path / "source/README.md").symlink_to(tmp_path / "key")
    (tmp_path / "source/merges.txt").write_text("own")
    (tmp_path / "source/vocab.txt").symlink_to("merges.txt")
    assert copied() == {"merges.txt": "own", "vocab.txt": "own"}
    assert f"README.md: is a link to a file outside of the directory, {tmp_path / 'key'}; it is not" in caplog.text


def test_a_cache_of_a_hub(tmp_path):
    source, target = tmp_path / "models--x/snapshots/abc", tmp_path / "target"
    blobs = tmp_path / "models--x/blobs"
    for folder in (source, target, blobs):
        folder.mkdir(parents=True)
    (blobs / "123").write_text("{}")
    (source / "tokenizer.json").symlink_to("../../blobs/123")
    copy_companions(source, target, speaks=False)
    assert [path.name for path in target.iterdir()] == ["tokenizer.json"]


def test_a_policy_is_written_without_code(worlds, tmp_path):
    """Its config.json too names none, of the Thinker or around it."""
    world = worlds["base"]
    source = tmp_path / "source"
    source.mkdir()
    raw = json.loads((world.directory / "config.json").read_text()) | {"auto_map": {"AutoModel": "evil.Evil"}}
    raw["text_config"]["auto_map"] = {"AutoConfig": "evil.Evil"}
    (source / "config.json").write_text(json.dumps(raw))
    (source / "evil.py").write_text("print('ran')")
    hf.save(tmp_path / "new", world.config, world.params, source)
    assert "auto_map" not in (tmp_path / "new/config.json").read_text()
    assert not list((tmp_path / "new").glob("*.py"))
