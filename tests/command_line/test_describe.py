import pytest

from emsa_jax.command_line.command_options import defaults, fields
from emsa_jax.command_line.commands import COMMANDS
from emsa_jax.command_line.describe import describe, group_text
from emsa_jax.errors import InputError


def test_a_field():
    text = describe("hint.mode")
    assert text.startswith("hint.mode: ") and "  default   hint\n" in text and "  type      'hint'|" in text
    assert "  source    " in text and "  commands  prepare, train, sft" in text and "plan" in text
    assert "cd_grpo: off" in text and "smol: off" in text and "msa_thinker" not in text


def test_a_field_of_several_jobs_is_described_as_each_has_it():
    text = describe("out")
    assert text.count("out: ") == len({fields(one)["out"] for one in COMMANDS.values() if "out" in fields(one)})
    assert "commands  compare" in text and "commands  inspect" in text


def test_ranges_units_and_what_is_experimental():
    assert "range     at least 1 and at most 1000000 (in tokens)" in describe("prompt.tokens")
    assert "note      experimental" in describe("hint.loss_on_hint")
    assert "note      results do not depend on it" in describe("stages")


def test_a_group():
    text = describe("lora")
    assert text.startswith("lora: The adapter") and "\nlora.rank=64  int  rank of" in text


@pytest.mark.parametrize("name", ["hint.treshold", "treshold"])
def test_an_unknown_field_names_the_nearest(name):
    with pytest.raises(InputError, match=f"there is no field or group {name}; did you mean hint.threshold"):
        describe(name)


def test_every_field_can_be_described():
    for path in {path: None for one in COMMANDS.values() for path in fields(one)}:
        assert describe(path).startswith(f"{path}: ")


def test_the_group_of_a_command_has_the_values_of_its_preset():
    train = COMMANDS["train"]
    assert "loss.beta=0.1  float" in group_text("train", defaults(train, "msa_thinker"), "loss")
    with pytest.raises(InputError, match="emsa train has no group los; did you mean loss"):
        group_text("train", defaults(train), "los")
