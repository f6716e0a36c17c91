import json

import pytest

from emsa_jax.config.edge import to_dict
from emsa_jax.config.fields import leaves
from emsa_jax.errors import InputError
from emsa_jax.settings.config import Config
from emsa_jax.settings.old_fields import REMOVED, RENAMED, check_old_fields, is_old, read_config, upgrade_for


def today():
    return json.loads(json.dumps(to_dict(Config())))


def old():
    """As a run of before wrote it."""
    config = today()
    del config["modality_dropout"], config["balance"], config["prompt"]["modalities"]
    config["view"] = {"keep": ["text", "audio", "video"], "drop_text": 0.3, "drop_audio": 0.0, "drop_video": 0.0}
    config["prompt"] |= {"video": True, "audio": False, "text": True}
    config["export"] = {"merged": True, "adapter": False, "shard_bytes": 5}
    config["hint"] |= {"levels": ["polarity"], "prob": 1.0, "template": None}
    config["prepare"] |= {"frames": "uniform", "fps": 2.0, "jpeg_quality": 95}
    config["sft"] |= {"balance": True, "eval_clips": 128}
    warmup = {"warmup_steps": None, "warmup_fraction": 0.03, "b1": 0.9, "eps": 1e-8}
    config["sft"]["optimizer"] = {k: v for k, v in config["sft"]["optimizer"].items() if k != "warmup"} | warmup
    return config | {"source": ""}


def test_fields_of_before_are_no_fields_of_today():
    known = {leaf.path for leaf in leaves(Config())}
    assert not known & {*RENAMED, *REMOVED}
    for field in RENAMED.values():
        assert field in known or field.rpartition(".")[0] in known, field


@pytest.mark.parametrize("prefix", ["", "base."])
def test_each_ends_in_an_error_that_says_what_to_do(prefix):
    with pytest.raises(
        InputError, match=f"config.{prefix}cross.reader is no field .* set config.{prefix}cross.dataset"
    ):
        check_old_fields([f"{prefix}cross.reader"])
    with pytest.raises(InputError, match="config.*hint.prob is no field any more: every hard group is hinted"):
        check_old_fields(["seed", f"{prefix}hint.prob"])
    check_old_fields(["seed", "hint.mode"])


def test_a_run_of_before_is_read():
    assert is_old(old()) and not is_old(today())
    config = read_config(old())
    assert config.modality_dropout == {"text": 0.3, "audio": 0.0, "video": 0.0}
    assert (config.prompt.modalities, config.export, config.balance) == (("text", "video"), ("merged",), True)
    assert (config.hint.levels, config.prepare.fps, config.sft.optimizer.warmup) == ("polarity", 0.0, 0.03)
    assert read_config(today()) == Config()


@pytest.mark.parametrize(
    "changes", [{"view": 5}, {"prompt": 5}, {"cross": 5}, {"sft": 5}, {"hint": {"prob": 1, "levels": []}}]
)
def test_a_config_that_no_version_has_written(changes):
    with pytest.raises(InputError, match=r"config.json of a run of before is damaged \(.*restore it"):
        read_config(old() | changes)


def test_it_is_not_continued():
    assert upgrade_for(trains=True)(today()) is None
    assert upgrade_for(trains=False)(old())["hint"]["levels"] == "polarity"
    with pytest.raises(InputError, match="can be evaluated and exported .* but not continued"):
        upgrade_for(trains=True)(old())
