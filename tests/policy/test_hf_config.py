"""config.json in both spellings, back again, and what is refused."""

import copy
import json
import math
from dataclasses import fields, replace

import pytest
from transformers import Qwen2_5OmniThinkerConfig

from emsa_jax.errors import InputError
from emsa_jax.policy.hf_config import from_hf, read_config, to_hf
from emsa_jax.policy.thinker_config import ThinkerConfig, preset


def raw(world):
    return json.loads((world.directory / "config.json").read_text())


def equals_transformers(ours: ThinkerConfig, theirs: Qwen2_5OmniThinkerConfig):
    for section in ("text", "audio", "vision"):
        mine, other = getattr(ours, section), getattr(theirs, f"{section}_config")
        for field in fields(mine):
            if field.name in ("attention", "qkv_bias", "qk_norm"):  # the machine's affair; what Omni's class fixes
                continue
            if field.name == "head_dim":
                assert mine.head_dim == getattr(other, "head_dim", mine.hidden_size // mine.num_attention_heads)
                continue
            if field.name in ("rope_theta", "mrope_section"):
                value = other.rope_parameters.get(field.name, [16, 24, 24])  # its fallback
            else:
                value = getattr(other, field.name)
            value = tuple(value) if isinstance(value, list) else value
            assert getattr(mine, field.name) == value, f"{section}.{field.name}"
    for field in fields(ThinkerConfig):
        if field.name not in ("text", "audio", "vision", "audio_bridge", "vision_bridge", "other_stop_ids"):
            assert getattr(ours, field.name) == getattr(theirs, field.name), field.name


def test_read_what_transformers_writes(world):
    equals_transformers(read_config(world.directory), world.model.config)
    assert read_config(world.full) == read_config(world.directory)


def test_transformers_reads_what_is_written(world, tmp_path):
    for config in (world.config, preset("3B"), preset("7B")):
        written = to_hf(config, "bfloat16")
        (tmp_path / "config.json").write_text(json.dumps(written))
        theirs = Qwen2_5OmniThinkerConfig.from_pretrained(tmp_path)
        equals_transformers(config, theirs)
        assert str(theirs.dtype) == "torch.bfloat16"
        assert theirs.text_config.tie_word_embeddings == config.tie_word_embeddings
        assert read_config(tmp_path) == config


def test_the_old_spelling(world):
    """rope_theta beside rope_scaling, *_index beside *_id, no vision rope: as released files have it."""
    new, old = raw(world), raw(world)
    rope = old["text_config"].pop("rope_parameters")
    old["text_config"].update(
        rope_theta=rope["rope_theta"], rope_scaling={"type": "default", "mrope_section": rope["mrope_section"]}
    )
    old["vision_config"].pop("rope_parameters", None)
    for kind in ("audio", "image", "video"):
        value = old.pop(f"{kind}_token_index", None) or old.pop(f"{kind}_token_id")
        old.pop(f"{kind}_token_id", None)
        old[f"{kind}_token_index"] = value
    old.update(ignore_index=-100, init_std=0.02, vision_token_id=7)
    assert from_hf(old) == from_hf(new) == world.config
    assert from_hf({"model_type": "qwen2_5_omni", "thinker_config": old, "talker_config": {}}) == world.config


def test_the_text_sections_tie_does_not_decide(worlds):
    """transformers' default there is true, also in untied checkpoints."""
    changed = raw(worlds["base"])
    changed["text_config"]["tie_word_embeddings"] = True
    assert from_hf(changed).tie_word_embeddings is False


def test_defaults_are_transformers():
    sections = {"text_config": {}, "audio_config": {}, "vision_config": {"hidden_size": 1280}}
    assert from_hf(dict(sections)) == replace(preset("7B"))
    equals_transformers(
        from_hf(dict(sections)),
        Qwen2_5OmniThinkerConfig(
            **sections,
            vision_start_token_id=151652,
            vision_end_token_id=151653,
            bos_token_id=151644,
            eos_token_id=151645,
            pad_token_id=151643,
        ),
    )
    assert from_hf(dict(sections, vision_config={})).vision.hidden_size == 3584


@pytest.mark.parametrize(
    "section, field, value, names",
    [
        ("text_config", "use_sliding_window", True, "use_sliding_window"),
        ("text_config", "hidden_act", "gelu", "text_config.hidden_act"),
        ("vision_config", "hidden_act", "gelu", "vision_config.hidden_act"),
        ("audio_config", "activation_function", "relu", "activation_function"),
        ("text_config", "rope_parameters", {"rope_type": "yarn", "rope_theta": 1e6}, "rope_parameters.type"),
        ("text_config", "rope_parameters", {"rope_type": "default", "mrope_section": [1, 1, 1]}, "mrope_section"),
        ("text_config", "rope_parameters", {"rope_type": "default", "mrope_section": [[2]]}, "mrope_section"),
        ("text_config", "rope_parameters", 5, "rope_parameters"),
        ("text_config", "rope_parameters", {"full_attention": {"rope_type": "yarn"}}, "full_attention"),
        ("text_config", "rope_theta", 1e-300, None),  # rope_parameters stands before it
        ("text_config", "rope_parameters", {"rope_theta": 1e-300}, "rope_theta is 1e-300, but must be at least 1"),
        ("text_config", "rope_parameters", {"mrope_section": [8] * 10**6}, "at most 1"),
        ("text_config", "head_dim", 99, "head_dim"),
        ("text_config", "hidden_size", "64", "text_config.hidden_size"),
        ("text_config", "num_attention_heads", 0, "text_config.num_attention_heads"),
        ("text_config", "num_hidden_layers", True, "text_config.num_hidden_layers"),
        ("text_config", "rms_norm_eps", None, None),  # absent: the default
        ("text_config", "rms_norm_eps", "tiny", "text_config.rms_norm_eps"),
        ("vision_config", "depth", -1, "vision_config.depth"),
        ("text_config", "num_hidden_layers", 2**63, "text_config.num_hidden_layers"),
        ("text_config", "hidden_size", 10**400, "text_config.hidden_size"),
        ("text_config", "rms_norm_eps", math.inf, "text_config.rms_norm_eps"),
        ("text_config", "rms_norm_eps", 10**400, "text_config.rms_norm_eps"),
        ("text_config", "rms_norm_eps", math.nan, "text_config.rms_norm_eps"),
        ("text_config", "max_position_embeddings", math.inf, "text_config.max_position_embeddings"),
        ("audio_config", "encoder_layers", 2**40, "audio_config.encoder_layers"),
        ("audio_config", "encoder_attention_heads", 5, "audio_config.d_model"),
        ("vision_config", "depth", 2**63, "vision_config.depth"),
        ("vision_config", "num_heads", 5, "vision_config.hidden_size"),
        ("vision_config", "window_size", 3, "vision_config.window_size"),
        (None, "model_type", ["qwen2"], "model_type"),
        (None, "model_type", {}, "model_type"),
        (None, "seconds_per_chunk", 0, "seconds_per_chunk"),
        (None, "position_id_per_seconds", 2**63, "position_id_per_seconds"),
        (None, "audio_token_index", 2**63, "audio_token_id"),
        (None, "audio_token_index", 128, "audio_token_id"),  # of a vocabulary of 128
        (None, "user_token_id", 4096, "user_token_id"),
        (None, "pad_token_id", 2**63, "pad_token_id"),
        ("vision_config", "fullatt_block_indexes", "x", "fullatt_block_indexes"),
        ("vision_config", "fullatt_block_indexes", 7, "fullatt_block_indexes"),
        ("audio_config", "n_window", 2.5, "audio_config.n_window"),
        (None, "audio_token_index", "a", "audio_token_id"),
        (None, "eos_token_id", [], "eos_token_id"),
        (None, "tie_word_embeddings", "yes", "tie_word_embeddings"),
        (None, "text_config", None, "text_config is missing"),
        (None, "vision_config", [], "vision_config is missing"),
    ],
)
def test_bad_fields_are_named(worlds, section, field, value, names):
    changed = copy.deepcopy(raw(worlds["base"]))
    (changed[section] if section else changed)[field] = value
    if section == "text_config" and field == "rope_parameters":
        changed["text_config"].pop("rope_scaling", None)
    if names is None:
        from_hf(changed, "here.json")
        return
    with pytest.raises(InputError, match="here.json.*" + names.replace(".", r"\.")):
        from_hf(changed, "here.json")


def test_both_spellings_of_rotary_embeddings_must_say_the_same(worlds):
    """`transformers` takes the older one where a file has both."""
    changed = raw(worlds["base"])
    scaled = {"rope_type": "yarn", "factor": 4.0}
    with pytest.raises(InputError, match="rope_scaling.type is 'yarn'"):
        from_hf(changed | {"text_config": changed["text_config"] | {"rope_scaling": scaled}})
    other = {"rope_scaling": {"rope_theta": 5.0}}
    with pytest.raises(InputError, match="rope_scaling is .*5.0"):
        from_hf(changed | {"text_config": changed["text_config"] | other})


def test_ids_of_the_released_vocabulary_are_no_ids_of_a_smaller_one(worlds, tmp_path):
    """A file without them has no such tokens; without an end of answers it is refused."""
    changed = raw(worlds["base"])
    for name in ("pad_token_id", "user_token_id", "vision_start_token_id"):
        changed.pop(name)
    (tmp_path / "config.json").write_text(json.dumps(changed))
    config = read_config(tmp_path)
    assert config.pad_token_id == config.eos_token_id == 118
    assert (config.user_token_id, config.vision_start_token_id) == (-1, -1)
    changed.pop("eos_token_id")
    (tmp_path / "config.json").write_text(json.dumps(changed))
    with pytest.raises(InputError, match="config.json: eos_token_id is missing, and generation_config.json names none"):
        read_config(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [9, 8]}')
    assert read_config(tmp_path).stop_ids == (9, 8)


def test_errors_are_not_as_long_as_files():
    with pytest.raises(InputError) as error:
        from_hf({"model_type": "hubert" * 10**5})
    assert len(str(error.value)) < 400


NASTY = (
    2**63,
    -(2**63),
    10**400,
    math.nan,
    math.inf,
    -math.inf,
    0.5,
    "x",
    "",
    [],
    [[]],
    [2**63],
    {},
    {"a": 1},
    True,
    0,
)


def test_no_value_of_any_field_does_worse_than_one_line(worlds):
    """Every field of every section takes every nasty value: what is read is finite and small, or refused by name."""
    whole = raw(worlds["base"])
    places = [(s, f) for s in ("text_config", "audio_config", "vision_config") for f in whole[s]]
    places += [(None, f) for f in whole]
    assert len(places) > 60
    for section, field in places:
        for value in NASTY:
            changed = copy.deepcopy(whole)
            (changed[section] if section else changed)[field] = value
            try:
                config = from_hf(changed, "here.json")
            except InputError as error:
                assert str(error).startswith("here.json: "), (section, field, value)
                continue
            for part in (config, config.text, config.audio, config.vision):
                for f in fields(part):
                    number = getattr(part, f.name)
                    bounded = not isinstance(number, int | float) or abs(number) <= 1e15
                    assert bounded, (section, field, value)


@pytest.mark.parametrize(
    "text, names",
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        (b"\xff\xfe\xfa", "not JSON"),
        ("[1]", "not an object"),
        ('{"thinker_config": 3}', "not a Qwen2.5-Omni"),
        ('{"quantization_config": {"quant_method": "awq", "bits": 4}}', r"quantization_config .*\(awq\)"),
        ('{"thinker_config": {"quantization_config": {"quant_method": "gptq"}}}', r"quantization_config .*\(gptq\)"),
        ('{"thinker_config": {"text_config": {"quantization_config": {"quant_method": "fp8"}}}}', r"weights .*\(fp8\)"),
        ('{"text_config": {"compression_config": {"format": "pack"}}}', r"quantization_config .*\(quantized\)"),
    ],
)
def test_bad_files_are_named(tmp_path, text, names):
    if text is not None:
        (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=f"config.json: .*{names}"):
        read_config(tmp_path)


def test_a_run_in_the_place_of_its_policy(world, tmp_path):
    """A workdir has a config.json too: the one of its job."""
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "merged").symlink_to(world.directory)
    (tmp_path / "config.json").write_text('{"job": "run"}')
    (tmp_path / "versions.json").write_text("[]")
    for named in (tmp_path, tmp_path / "export"):
        with pytest.raises(InputError) as error:
            read_config(named)
        told = f"{named} is no policy directory, but that of a run; its policy is {tmp_path / 'export' / 'merged'}"
        assert str(error.value) == told
    assert read_config(tmp_path / "export" / "merged") == read_config(world.directory)
