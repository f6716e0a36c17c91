"""Adapter directories in and out, with PEFT at the other end."""

import json
import shutil

import jax
import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file

from emsa_jax.errors import InputError
from emsa_jax.policy.lora import init_adapter, merge
from emsa_jax.policy.peft import load_adapter, save_adapter
from emsa_jax.policy.policy_options import LoraOptions

RANK, ALPHA = 3, 12
TEXT_PATTERN = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj)"
EVERYTHING = (
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "audio.q_proj",
    "audio.k_proj",
    "audio.v_proj",
    "audio.out_proj",
    "audio.fc1",
    "audio.fc2",
    "vision.q",
    "vision.k",
    "vision.v",
    "vision.proj",
    "vision.gate_proj",
    "vision.up_proj",
    "vision.down_proj",
)
PROJECTORS = ("audio.proj", "vision.merger_in", "vision.merger_out")
ALSO = ("audio.proj", "audio.ln_post", "vision.merger_norm", "vision.merger_out", "text.norm", "text.layers.input_norm")


def wrap(model, rng, **options):
    """A torch model with a PEFT adapter that changes something."""
    wrapped = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, task_type="CAUSAL_LM", **options)).eval()
    with torch.no_grad():
        for name, p in sorted(wrapped.named_parameters()):
            if "lora_" in name:
                p.copy_(torch.from_numpy(0.15 * rng.standard_normal(p.shape).astype(np.float32)))
    return wrapped


@pytest.fixture(scope="module")
def made(worlds, tmp_path_factory, logits_of):
    """(world, tag) -> (a directory that PEFT wrote, PEFT's logits of the mix); made once each."""
    found = {}
    options = {
        "text": dict(target_modules=TEXT_PATTERN),
        "list": dict(target_modules=["q_proj", "o_proj"]),
        "rslora": dict(target_modules=TEXT_PATTERN, use_rslora=True),
    }

    def make(world, tag):
        if (world.name, tag) not in found:
            directory = tmp_path_factory.mktemp("peft") / tag
            wrapped = wrap(world.reload(), np.random.default_rng(0), **options[tag])
            wrapped.save_pretrained(directory)
            theirs = logits_of(wrapped, world.torch_inputs(world.rows("mix")))
            found[world.name, tag] = directory, theirs
        return found[world.name, tag]

    return make


def largest_difference(world, ours, theirs):
    """The largest difference of logits on valid tokens of the mix."""
    mask = world.inputs("mix").mask
    width = theirs.shape[1]
    return np.abs(np.asarray(ours)[:, -width:] - theirs)[mask[:, -width:]].max()


@pytest.mark.parametrize("tag", ["text", "list", "rslora"])
def test_what_peft_wrote(world, made, tag):
    """A pattern, a list (which hits the audio tower too), and rank-stabilised scaling; merged, and unmerged."""
    directory, theirs = made(world, tag)
    adapter = load_adapter(directory, world.config)
    assert set(adapter.weights) == ({"text", "audio"} if tag == "list" else {"text"})
    assert adapter.scale == pytest.approx(ALPHA / RANK**0.5 if tag == "rslora" else ALPHA / RANK)
    inputs = world.inputs("mix")
    if (world.name, tag) == ("base", "text"):
        assert largest_difference(world, world.logits(world.params, adapter, inputs), theirs) < 2e-4
    assert largest_difference(world, world.logits(jax.jit(merge)(world.params, adapter), None, inputs), theirs) < 2e-4
    assert largest_difference(world, world.logits(world.params, None, inputs), theirs) > 0.1


SPELLINGS = {
    "old thinker class": ("model.language_model.", "model."),
    "old full class": ("model.language_model.", "thinker.model."),
    "named adapter": (".weight", ".default.weight"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_all_spellings_of_keys_are_read(worlds, made, tmp_path, spelling):
    world = worlds["base"]
    directory, _ = made(world, "text")
    rename(directory, tmp_path / "other", *SPELLINGS[spelling])
    ours, theirs = load_adapter(tmp_path / "other", world.config), load_adapter(directory, world.config)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


def test_tower_keys_of_older_classes(worlds, made, tmp_path):
    world = worlds["base"]
    directory, _ = made(world, "list")
    rename(directory, tmp_path / "a", "model.audio_tower.", "audio_tower.")
    rename(tmp_path / "a", tmp_path / "b", "model.language_model.", "model.")
    ours, theirs = load_adapter(tmp_path / "b", world.config), load_adapter(directory, world.config)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours, theirs))


def rename(source, target, old, new):
    shutil.copytree(source, target)
    tensors = load_file(target / "adapter_model.safetensors")
    renamed = {
        ("base_model.model." + k.removeprefix("base_model.model.").replace(old, new)): v for k, v in tensors.items()
    }
    assert renamed.keys() != tensors.keys()
    save_file(renamed, target / "adapter_model.safetensors")


@pytest.mark.parametrize(
    "name, targets, also",
    [
        ("base", ("q_proj", "down_proj"), ()),
        ("base", EVERYTHING + PROJECTORS, ()),
        ("alt", EVERYTHING, ALSO),
        ("base", ("q_proj", "vision.merger_in"), (*ALSO, "text.lm_head", "text.embed_tokens")),
    ],
)
def test_peft_loads_what_is_saved(worlds, tmp_path, logits_of, name, targets, also):
    """LoRA on linears of layers and on projectors, and what is trained whole: `modules_to_save`."""
    world = worlds[name]
    options = LoraOptions(RANK, ALPHA, targets, also=also)
    adapter = init_adapter(world.config, options, jax.random.key(0), world.params)
    leaves, tree = jax.tree.flatten(adapter)
    rng = np.random.default_rng(1)
    adapter = tree.unflatten([x + 0.08 * rng.standard_normal(x.shape).astype(np.float32) for x in leaves])
    save_adapter(tmp_path / "new", world.config, adapter, base="somewhere")
    again = load_adapter(tmp_path / "new", world.config)
    assert again.scale == adapter.scale
    assert jax.tree.all(jax.tree.map(np.array_equal, again, adapter))
    raw = json.loads((tmp_path / "new" / "adapter_config.json").read_text())
    assert (raw["r"], raw["lora_alpha"], raw["base_model_name_or_path"]) == (RANK, ALPHA, "somewhere")
    wrapped = PeftModel.from_pretrained(world.reload(), tmp_path / "new").eval()
    theirs = {n: p for n, p in wrapped.named_parameters() if "lora_" in n or "modules_to_save" in n}
    # every module that the pattern hit has been filled, and no other was hit
    assert len(theirs) == len(load_file(tmp_path / "new" / "adapter_model.safetensors")) / 2  # under two names each
    assert all(float(p.detach().abs().max()) > 0 for p in theirs.values())
    theirs = logits_of(wrapped, world.torch_inputs(world.rows("mix")))
    assert largest_difference(world, world.logits(world.params, adapter, world.inputs("mix")), theirs) < 2e-4
    assert largest_difference(world, world.logits(world.params, None, world.inputs("mix")), theirs) > 0.1


def change(source, target, tensors=None, config=None):
    """A copy of an adapter with its tensors or its configuration changed."""
    shutil.copytree(source, target)
    found = load_file(target / "adapter_model.safetensors")
    (tensors or (lambda t: None))(found)
    save_file(found, target / "adapter_model.safetensors")
    raw = json.loads((target / "adapter_config.json").read_text())
    (config or (lambda c: None))(raw)
    (target / "adapter_config.json").write_text(json.dumps(raw))


KEY = "base_model.model.model.language_model.layers.{}.self_attn.{}.lora_{}.weight"
WRONG = {
    "whole numbers": (
        lambda t: t.update({KEY.format(1, "k_proj", "B"): t[KEY.format(1, "k_proj", "B")].astype(np.int8)}),
        r"k_proj\.lora_B\.weight is of type I8, but only F32, F16, BF16, F64 are read",
    ),
    "missing half": (lambda t: t.pop(KEY.format(1, "k_proj", "B")), "lora_B of text k_proj in layer 1 is missing"),
    "missing layer": (
        lambda t: (t.pop(KEY.format(2, "q_proj", "A")), t.pop(KEY.format(2, "q_proj", "B"))),
        "lora_A of text q_proj in layer 2 is missing",
    ),
    "one layer too many": (
        lambda t: t.update({KEY.format(3, "q_proj", "A"): t[KEY.format(2, "q_proj", "A")]}),
        r"layers\.3\..*another base.*3 layers",
    ),
    "other width": (
        lambda t: t.update({KEY.format(0, "q_proj", "A"): np.zeros((RANK, 65), np.float32)}),
        r"layers\.0\.self_attn\.q_proj\.lora_A.*\[3, 65\].*another base.*\[3, 64\]",
    ),
    "unknown linear": (
        lambda t: t.update({KEY.format(0, "w_pack", "A"): np.zeros((RANK, 64), np.float32)}),
        "w_pack.*belongs to no linear",
    ),
    "foreign key": (
        lambda t: t.update({"base_model.model.lm_head.lora_A.weight": np.zeros((RANK, 64), np.float32)}),
        "lm_head.*belongs to no linear",
    ),
    "bias": (
        lambda t: t.update({"base_model.model.model.norm.bias": np.zeros(3, np.float32)}),
        r"norm\.bias.*belongs to no linear",
    ),
    "one weight twice": (
        lambda t: t.update(
            {"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": t[KEY.format(0, "q_proj", "A")] + 1}
        ),
        "q_proj.*twice.*other values",
    ),
    "nothing": (lambda t: t.clear(), "no adapter tensors"),
    "one NaN": (
        lambda t: t[KEY.format(1, "k_proj", "B")].__setitem__((0, 0), np.nan),
        r"adapter_model\.safetensors: .*layers\.1\.self_attn\.k_proj\.lora_B\.weight holds numbers that are not finite",
    ),
    "too large for bfloat16": (
        lambda t: t[KEY.format(1, "k_proj", "B")].__setitem__((0, 0), 3.4e38),
        r"k_proj\.lora_B\.weight holds numbers that are not finite, or not as bfloat16",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_tensors_are_named(worlds, made, tmp_path, name):
    tensors, message = WRONG[name]
    change(made(worlds["base"], "text")[0], tmp_path / "bad", tensors)
    with pytest.raises(InputError, match="bad.*" + message):
        load_adapter(tmp_path / "bad", worlds["base"].config)


def test_an_adapter_for_another_base(worlds, made):
    with pytest.raises(InputError, match="another base"):
        load_adapter(made(worlds["base"], "text")[0], worlds["alt"].config)


@pytest.mark.parametrize(
    "field, value",
    [
        ("peft_type", "IA3"),
        ("use_dora", True),
        ("modules_to_save", ["lm_head"]),
        ("layers_to_transform", [0]),
        ("lora_bias", True),
        ("bias", "all"),
        ("fan_in_fan_out", True),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "pissa_niter_4"),
        ("init_lora_weights", "olora"),
        ("alora_invocation_tokens", [1, 2]),
        ("layer_replication", [[0, 2]]),
        ("use_qalora", True),
        ("trainable_token_indices", [1]),
        ("target_parameters", ["x"]),
        ("arrow_config", {"top_k": 1}),
        ("r", "three"),
        ("r", 0),
        ("r", 2.5),
        ("r", "3"),
        ("r", True),
        ("r", 2**63),
        ("r", 10**400),
        ("lora_alpha", None),
        ("lora_alpha", "12"),
        ("lora_alpha", True),
        ("lora_alpha", 10**400),
        ("lora_alpha", 1e300),
        ("lora_alpha", [12]),
        ("use_rslora", "yes"),
        ("peft_type", ["LORA"]),
        ("bias", {}),
        ("an_option_of_tomorrow", {"size": 3}),
        ("velora_config", {"rank": 3}),
        ("lora_ga_config", {"direction": "x"}),
        ("megatron_config", {"tensor_model_parallel_size": 2}),
        ("init_lora_weights", "PiSSA"),
        ("init_lora_weights", "a_way_of_tomorrow"),
        ("lora_alpha", float("nan")),
        ("lora_alpha", float("inf")),
        ("r", float("inf")),
    ],
)
def test_what_is_not_plain_lora_is_refused(worlds, made, tmp_path, field, value):
    change(made(worlds["base"], "text")[0], tmp_path / "bad", config=lambda c: c.update({field: value}))
    with pytest.raises(InputError, match=f"bad.*adapter_config.json: {field} "):
        load_adapter(tmp_path / "bad", worlds["base"].config)


@pytest.mark.parametrize(
    "file, content",
    [
        ("adapter_config.json", None),
        ("adapter_model.safetensors", None),
        ("adapter_config.json", b'{"r": 3, "r": 4}'),
        ("adapter_config.json", b"{"),
        ("adapter_config.json", b"[]"),
        ("adapter_model.safetensors", b"half a file"),
    ],
)
def test_unreadable_files(worlds, made, tmp_path, file, content):
    shutil.copytree(made(worlds["base"], "text")[0], tmp_path / "bad")
    (tmp_path / "bad" / file).unlink()
    if content is not None:
        (tmp_path / "bad" / file).write_bytes(content)
    with pytest.raises(InputError, match="bad.*adapter_config.json"):
        load_adapter(tmp_path / "bad", worlds["base"].config)


def test_one_flipped_bit_and_existing_directories(worlds, tmp_path):
    world = worlds["base"]
    adapter = init_adapter(world.config, LoraOptions(2, 4.0, ("q_proj",)), jax.random.key(0))
    save_adapter(tmp_path / "new", world.config, adapter, extra={"step": 1})
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    with pytest.raises(InputError, match="new: exists already"):
        save_adapter(tmp_path / "new", world.config, adapter)
    for path in (tmp_path / "new").iterdir():
        data = path.read_bytes()
        at = len(data) // 2
        path.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(InputError, match="new: damaged"):
            load_adapter(tmp_path / "new", world.config)
        path.write_bytes(data)
    load_adapter(tmp_path / "new", world.config)
