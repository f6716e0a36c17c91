"""Bibtex of runs, read by a parser that is not ours alone."""

import json
import re
from pathlib import Path

import pytest
import yaml

from emsa_jax.config.edge import to_dict
from emsa_jax.data.facts import FACTS
from emsa_jax.errors import InputError
from emsa_jax.report.citations import citations, data_keys, entries
from emsa_jax.settings.presets import embedded

ROOT = Path(__file__).parents[2]


def fields_of(entry):
    """(kind, key, field -> value) of an entry, refusing braces that do not match."""
    kind, key, body = re.match(r"@(\w+)\{([\w-]+),\n(.*)\n\}$", entry, re.DOTALL).groups()
    assert body.count("{") == body.count("}")
    found = {}
    for line in body.split("\n"):
        name, value = re.match(r"  (\w+) = \{(.*)\},?$", line).groups()
        assert name not in found
        found[name] = value
    assert all(line.endswith(",") for line in body.split("\n")[:-1])
    return kind, key, found


@pytest.fixture
def workdir(tmp_path):
    """(changes of the embedded config, as group__field) -> the workdir of such a run."""

    def make(**changes):
        config = to_dict(embedded())
        for path, value in changes.items():
            *groups, last = path.split("__")
            group = config
            for part in groups:
                group = group[part]
            group[last] = value
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "versions.json").write_text(json.dumps([{"jax": "0.0.1"}, {"jax": "0.10.2", "git": "abc123"}]))
        return tmp_path

    return make


def keys_of(text):
    return [fields_of(entry)[1] for entry in re.split(r"\n\n(?=@|%)", text.strip()) if not entry.startswith("%")]


def test_every_entry_is_sound():
    for key, entry in entries().items():
        kind, own, found = fields_of(entry)
        assert own == key and kind in ("misc", "article", "inproceedings")
        assert {"title", "author"} <= found.keys()
        assert "year" in found or key in ("chcems", "emsa_jax")  # which nobody dates
        assert not re.search(r"(?<!\\)[&%_#]", found["title"] + found["author"])


def test_every_data_set_that_is_known_has_entries():
    assert {name for name in FACTS if not data_keys([name])} == {"plain"}
    assert set(data_keys(FACTS)) <= entries().keys()


def test_what_a_run_of_puppets_rests_on(workdir):
    text = citations(workdir())
    assert keys_of(text) == [
        *("luo2026msathinker", "luo2026c2fthinker", "shao2024deepseekmath", "huang2025hintgrpo", "hu2022lora"),
        *("xu2025qwen25omni", "emsa_jax", "jax", "flax", "transformers"),
    ]
    assert re.findall(r"^% (\w+)", text, re.MULTILINE) == ["Method", "Software"]  # there is no data to cite
    assert "version = {0.10.2}" in text and "commit abc123" in text


@pytest.mark.parametrize(
    "changes, there, absent",
    [
        ({"hint__mode": "off"}, "shao2024deepseekmath", "huang2025hintgrpo"),
        ({"stages": ["prepare", "evaluate"]}, "xu2025qwen25omni", "luo2026msathinker"),
        ({"stages": ["prepare", "sft"]}, "luo2026msathinker", "hu2022lora"),  # all of tiny is trained
        ({"format": "concepts"}, "chcems", "luo2026msathinker"),
        ({"data": "/clips", "dataset": "ch_sims"}, "yu2020chsims", "zadeh2016mosi"),
        ({"format": "describe"}, "zhang2026xemogpt", "luo2026msathinker"),
        ({"policy": "elsewhere"}, "luo2026msathinker", "xu2025qwen25omni"),
    ],
)
def test_what_a_config_names_decides(workdir, changes, there, absent):
    keys = keys_of(citations(workdir(**changes)))
    assert there in keys and absent not in keys


def test_what_a_policy_is_made_of_is_cited(workdir, tmp_path):
    """Cue bridges in a policy are XEmoGPT's, whatever is learned over them."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base/config.json").write_text('{"model_type": "emsa_jax_parts", "audio_bridge_config": {"a": 1}}')
    assert "zhang2026xemogpt" in keys_of(citations(workdir(policy=str(tmp_path / "base"))))


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(InputError, match="no workdir of a run"):
        citations(tmp_path)
    for config in ('{"stages": 3}', '{"stages": [["sft"]]}'):
        (tmp_path / "config.json").write_text(config)
        with pytest.raises(InputError, match="no workdir of a run: its config.json names no list of stages"):
            citations(tmp_path)


def test_the_repository_says_how_to_cite_it():
    """The fields that the format's version 1.2.0 asks for, and the package's own version."""
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= cff.keys() and cff["cff-version"] == "1.2.0"
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    assert str(cff["version"]) == version and cff["license"] == "Apache-2.0"
