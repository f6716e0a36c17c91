"""Adapters under the names of every class and stack, with PEFT at the other end."""

import copy
import json
import logging
import warnings

import jax
import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file
from transformers import Qwen2_5OmniForConditionalGeneration as Omni
from transformers import Qwen2_5OmniThinkerForConditionalGeneration as Thinker

from emsa_jax.errors import InputError
from emsa_jax.policy import hf
from emsa_jax.policy.lora import init_adapter, merge
from emsa_jax.policy.peft import load_adapter, save_adapter
from emsa_jax.policy.policy_options import LoraOptions

# linears of the decoder have the same names in the talker; of the towers, some in the half that makes sound
TARGETS = ("q_proj", "down_proj", "audio.q_proj", "audio.proj", "vision.gate_proj", "vision.merger_in")
ALSO = ("audio.ln_post", "vision.merger_norm", "text.norm", "text.lm_head", "text.layers.input_norm")


@pytest.fixture(scope="module")
def adapter(worlds):
    """An adapter that changes everything it touches."""
    world = worlds["base"]
    leaves, tree = jax.tree.flatten(
        init_adapter(world.config, LoraOptions(3, 12, TARGETS, also=ALSO), jax.random.key(0), world.params)
    )
    rng = np.random.default_rng(1)
    return tree.unflatten([x + 0.08 * rng.standard_normal(x.shape).astype(np.float32) for x in leaves])


@pytest.fixture(scope="module")
def whole(omni):
    return Omni.from_pretrained(omni, attn_implementation="eager").eval()


def adapted(model, directory):
    """A copy of a model with an adapter of PEFT, which has nothing to say but what says so of itself."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(copy.deepcopy(model), directory).eval()
    assert [str(one.message) for one in said if "is_gradient_checkpointing" not in str(one.message)] == []
    return model


def test_both_classes_load_all_of_an_adapter(worlds, adapter, whole, tmp_path, logits_of):
    """The Thinker, and the full class with its talker: every matrix filled, nothing on the talker, equal logits."""
    world = worlds["base"]
    save_adapter(tmp_path / "new", world.config, adapter)
    assert jax.tree.all(jax.tree.map(np.array_equal, load_adapter(tmp_path / "new", world.config), adapter))
    inputs = world.torch_inputs(world.rows("mix"))
    mask = world.inputs("mix").mask
    ours = np.asarray(world.logits(world.params, adapter, world.inputs("mix")))[mask]
    thinker, full = (adapted(model, tmp_path / "new") for model in (world.reload(), whole))
    found = [
        {name: p for name, p in model.named_parameters() if "lora_" in name or "modules_to_save" in name}
        for model in (thinker, full)
    ]
    assert len(found[0]) == len(found[1]) == len(load_file(tmp_path / "new" / "adapter_model.safetensors")) / 2
    assert all(name.startswith("base_model.model.thinker.") for name in found[1])
    assert not [name for each in found for name, p in each.items() if not p.detach().abs().max()]
    theirs = [logits_of(thinker, inputs), logits_of(full.base_model.model.thinker, inputs)]
    for logits in theirs:
        assert np.abs(logits[mask[:, -logits.shape[1] :]] - ours).max() < 2e-4
    assert np.array_equal(*theirs)


def test_a_merged_full_checkpoint_comes_back(worlds, adapter, omni, whole, tmp_path, logits_of):
    """With its talker and its speakers, tensor by tensor; the Thinker in it as ours."""
    world = worlds["base"]
    config, params = hf.load(omni)
    hf.save(tmp_path / "merged", config, merge(params, adapter), omni)
    assert (tmp_path / "merged/spk_dict.pt").read_bytes() == (omni / "spk_dict.pt").read_bytes()
    again = Omni.from_pretrained(tmp_path / "merged", attn_implementation="eager")
    assert list(again.speaker_map) == ["Chelsie"]
    for name, p in again.state_dict().items():
        if not name.startswith("thinker."):
            assert torch.equal(p, whole.state_dict()[name]), name
    inputs, mask = world.torch_inputs(world.rows("mix")), world.inputs("mix").mask
    ours = np.asarray(world.logits(world.params, adapter, world.inputs("mix")))[mask]
    alone = Thinker.from_pretrained(tmp_path / "merged", attn_implementation="eager")
    for model in (again.thinker, alone):
        logits = logits_of(model.eval(), inputs)
        assert np.abs(logits[mask[:, -logits.shape[1] :]] - ours).max() < 2e-4


def test_speakers_are_kept_by_full_checkpoints_alone(world, tmp_path):
    """A file of that name beside a Thinker is none of its own, and no pickle is carried on without need."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/spk_dict.pt").write_bytes(b"x")
    hf.save(tmp_path / "new", world.config, world.params, tmp_path / "source")
    assert not (tmp_path / "new/spk_dict.pt").exists()


def test_what_peft_wrote_of_the_full_class(worlds, whole, tmp_path, caplog, logits_of):
    """A list of names hits the talker too, which no policy here has: it is left out, and said so."""
    world = worlds["base"]
    theirs = get_peft_model(copy.deepcopy(whole), LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "down_proj"]))
    generator = torch.Generator().manual_seed(0)
    for name, p in theirs.named_parameters():
        if "lora_" in name:
            p.data = 0.15 * torch.randn(p.shape, generator=generator)
    theirs.save_pretrained(tmp_path / "theirs")
    with caplog.at_level(logging.WARNING):
        ours = load_adapter(tmp_path / "theirs", world.config)
    assert "8 tensors of the half that speaks are left out, first 'base_model.model.talker." in caplog.text
    logits = logits_of(theirs.eval().base_model.model.thinker, world.torch_inputs(world.rows("mix")))
    mask = world.inputs("mix").mask
    found = np.asarray(world.logits(jax.jit(merge)(world.params, ours), None, world.inputs("mix")))
    assert np.abs(found[mask] - logits[mask[:, -logits.shape[1] :]]).max() < 2e-4


SPELLINGS = {
    "full class of transformers 5": ("base_model.model.", "base_model.model.thinker."),
    "without PEFT's prefix": ("base_model.model.", ""),
    "compiled": ("base_model.model.", "base_model.model._orig_mod."),
    "of several processes": ("base_model.model.", "module.base_model.model."),
    "sharded layer by layer": (".self_attn.", "._fsdp_wrapped_module.self_attn."),
    "text model inside": ("model.language_model.layers", "language_model.model.layers"),
    "adapter with a name": (".weight", ".sentiment.weight"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_other_stacks(worlds, adapter, tmp_path, spelling):
    world = worlds["base"]
    save_adapter(tmp_path / "new", world.config, adapter)
    file = tmp_path / "new" / "adapter_model.safetensors"
    tensors = {name: x for name, x in load_file(file).items() if "lora_" in name and ".thinker." not in name}
    renamed = {name.replace(*SPELLINGS[spelling]): x for name, x in tensors.items()}
    assert renamed.keys() != tensors.keys()
    (tmp_path / "other").mkdir()
    save_file(renamed, tmp_path / "other" / file.name)
    settings = json.loads((tmp_path / "new" / "adapter_config.json").read_text()) | {"modules_to_save": None}
    (tmp_path / "other" / "adapter_config.json").write_text(json.dumps(settings))
    found = load_adapter(tmp_path / "other", world.config).weights
    assert jax.tree.all(jax.tree.map(np.array_equal, found, adapter.weights))


def test_two_names_must_hold_the_same(worlds, adapter, tmp_path):
    """A file in which someone has changed one class's tensors alone means two things."""
    world = worlds["base"]
    save_adapter(tmp_path / "new", world.config, adapter)
    (tmp_path / "new" / "MANIFEST.json").unlink()
    file = tmp_path / "new" / "adapter_model.safetensors"
    for end in ("layers.0.self_attn.q_proj.lora_A.weight", "audio_tower.ln_post.weight"):
        tensors = load_file(file)
        name = next(name for name in tensors if name.startswith("base_model.model.thinker.") and name.endswith(end))
        save_file(tensors | {name: tensors[name] + 1}, file)
        with pytest.raises(InputError, match=f"{end}.* is there twice.* with other values"):
            load_adapter(tmp_path / "new", world.config)
        save_file(tensors, file)
