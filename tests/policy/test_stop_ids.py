"""Ids that end an answer: from two files, as one id or a list, and back."""

import json
import shutil

import pytest
from transformers import GenerationConfig

from emsa_jax.errors import InputError
from emsa_jax.policy import hf
from emsa_jax.policy.checkpoint import open_checkpoint
from emsa_jax.policy.hf_config import read_config, to_hf
from emsa_jax.policy.stop_ids import generation_config
from emsa_jax.policy.thinker_config import ThinkerConfig


@pytest.fixture
def written(tmp_path):
    """(ids in config.json, ids in generation_config.json) -> a directory of both; None: not there."""

    def write(config, generation, nested=None):
        raw = to_hf(ThinkerConfig()) | {"eos_token_id": config}
        raw["text_config"]["eos_token_id"] = nested
        (tmp_path / "config.json").write_text(json.dumps(raw))
        if generation != "absent":
            (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": generation, "top_k": 1}))
        return tmp_path

    return write


@pytest.mark.parametrize(
    "config, generation, nested, stops",
    [
        (151645, "absent", None, (151645,)),
        (151645, None, None, (151645,)),
        (151645, [151645, 151643], None, (151645, 151643)),
        ([151645, 151643], "absent", None, (151645, 151643)),
        ([151643], [151645, 151643], None, (151643, 151645)),
        (None, [151643, 7], None, (151643, 7)),
        (None, 151643, 9, (9, 151643)),
        (None, "absent", None, (151645,)),
    ],
)
def test_all_ids_of_both_files_count(written, config, generation, nested, stops):
    directory = written(config, generation, nested)
    found = read_config(directory)
    assert found.stop_ids == stops and found.eos_token_id == stops[0]
    back = generation_config(found, directory)
    assert back.get("top_k") == (None if generation == "absent" else 1)
    (directory / "generation_config.json").write_text(json.dumps(back))
    assert read_config(directory).stop_ids == stops
    theirs = GenerationConfig.from_pretrained(directory).eos_token_id
    assert tuple(theirs if isinstance(theirs, list) else [theirs]) == stops


@pytest.mark.parametrize("value", [-1, 152064, 2**70, True, "151645", 1.5, float("nan"), [151645, None], [[1]], [], {}])
@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_what_is_no_id_is_refused(written, file, value):
    directory = written(151645, value) if file != "config.json" else written(value, "absent")
    with pytest.raises(InputError, match=f"{file}: eos_token_id is .*"):
        read_config(directory)


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, '{"eos_token_id": 1, "eos_token_id": 2}', b"\xff"])
def test_a_damaged_file_is_named(written, text):
    directory = written(1, "absent")
    (directory / "generation_config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match="generation_config.json: "):
        read_config(directory)


def test_an_export_stops_where_the_policy_does(tiny_policy, tmp_path):
    """Ids of the file that the policy came from, and that the template's end of a turn was added to."""
    source = tmp_path / "source"
    shutil.copytree(tiny_policy, source, ignore=shutil.ignore_patterns("MANIFEST.json"))
    (source / "generation_config.json").write_text(json.dumps({"eos_token_id": [0, 7], "top_k": 1}))
    opened = open_checkpoint(source)
    assert opened.config.stop_ids == (2, 0, 7)  # <|im_end|> ends a turn
    hf.save(tmp_path / "export", opened.config, opened.params, source)
    theirs = GenerationConfig.from_pretrained(tmp_path / "export")
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.top_k) == ([2, 0, 7], 0, 1)
    assert open_checkpoint(tmp_path / "export", weights=False).config.stop_ids == (2, 0, 7)
