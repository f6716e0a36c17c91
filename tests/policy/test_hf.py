"""Checkpoint directories in and out: to the byte, with transformers at the other end, and never half."""

import json
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from emsa_jax import manifest
from emsa_jax.errors import InputError
from emsa_jax.policy import hf, tensor_files
from emsa_jax.policy.parameter_table import abstract_params, init_params
from emsa_jax.policy.thinker_config import AudioConfig, TextConfig, ThinkerConfig, VisionConfig

SOURCES = ("directory", "full")


def tensors(directory):
    """name -> (dtype, shape, bytes) of everything in a directory."""
    out = {}
    for path in sorted(directory.glob("*.safetensors")):
        for name, x in load_file(path).items():
            assert name not in out
            out[name] = (str(x.dtype), x.shape, x.tobytes())
    return out


def same(a, b):
    return jax.tree.all(jax.tree.map(lambda x, y: x.dtype == y.dtype and np.array_equal(x, y), a, b))


@pytest.mark.parametrize("source", SOURCES)
def test_load_and_save_again_is_byte_exact(world, tmp_path, source):
    directory = getattr(world, source)
    config, params = hf.load(directory)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), params) == jax.tree.map(
        lambda x: (x.shape, x.dtype), abstract_params(config)
    )
    hf.save(tmp_path / "a" / "new", config, params, directory, extra={"step": 3})
    assert tensors(tmp_path / "a" / "new") == tensors(directory)
    assert hf.load(tmp_path / "a" / "new")[0] == config
    assert manifest.read_manifest(tmp_path / "a" / "new")["extra"] == {"step": 3}
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["new"]
    if source == "full":
        assert any(name.startswith("talker.") for name in tensors(tmp_path / "a" / "new"))
        assert (tmp_path / "a" / "new" / "chat_template.json").read_text() == '{"chat_template": "x"}'


def test_both_layouts_hold_the_same_policy(world):
    config, params = hf.load(world.full)
    assert config == world.config
    assert same(params, world.params)


@pytest.mark.parametrize("source", [None, *SOURCES])
def test_transformers_gives_the_same_logits_from_what_is_saved(world, tmp_path, logits_of, source):
    """Changed weights, in shards; without a source the directory is thinker-only and all ours."""
    changed = jax.tree.map(lambda x: np.asarray(x) * np.float32(1.1), world.params)
    hf.save(tmp_path / "new", world.config, changed, source and getattr(world, source), shard_bytes=100_000)
    index = json.loads((tmp_path / "new" / "model.safetensors.index.json").read_text())
    files = sorted(p.name for p in (tmp_path / "new").glob("*.safetensors"))
    assert set(index["weight_map"].values()) == set(files) and len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    saved = tensors(tmp_path / "new")
    assert index["metadata"]["total_size"] == sum(len(x[2]) for x in saved.values())
    assert set(index["weight_map"]) == set(saved)
    with safe_open(tmp_path / "new" / files[0], "pt") as file:
        assert file.metadata() == {"format": "pt"}
    model = world.reload(tmp_path / "new", dtype="auto")
    assert model.dtype == torch.float32
    x = world.torch_inputs(world.rows("mix"))
    ours = np.asarray(world.logits(changed, None, world.inputs("mix")))
    mask = x["attention_mask"].numpy().astype(bool)
    theirs = logits_of(model, x)
    assert np.abs(ours[:, -mask.shape[1] :] - theirs)[mask].max() < 2e-4
    assert np.abs(theirs - world.reference("mix")[0])[mask].max() > 0.1


def test_bfloat16_stays_bfloat16(worlds, tmp_path):
    world = worlds["base"]
    config, params = hf.load(world.directory, jnp.bfloat16)
    hf.save(tmp_path / "half", config, params, world.directory)
    again = hf.load(tmp_path / "half")[1]
    assert same(params, again)
    model = world.reload(tmp_path / "half", dtype="auto")
    assert model.dtype == torch.bfloat16
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    # and float32 parameters over a bfloat16 source are announced, and loaded, as float32
    hf.save(tmp_path / "whole", config, jax.tree.map(lambda x: np.asarray(x, np.float32), params), tmp_path / "half")
    model = world.reload(tmp_path / "whole", dtype="auto")
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_tied_and_untied_heads(worlds, tmp_path):
    tied, untied = worlds["alt"], worlds["base"]
    assert "lm_head" not in tied.params["text"] and "lm_head" in untied.params["text"]
    # a head on disk is used even where the configuration says tied
    shutil.copytree(tied.directory, tmp_path / "own")
    own = load_file(tmp_path / "own" / "model.safetensors")
    own["lm_head.weight"] = own["model.embed_tokens.weight"] + 1
    save_file(own, tmp_path / "own" / "model.safetensors", metadata={"format": "pt"})
    config, params = hf.load(tmp_path / "own")
    assert not config.tie_word_embeddings
    np.testing.assert_array_equal(params["text"]["lm_head"], own["lm_head.weight"])
    hf.save(tmp_path / "saved", config, params, tmp_path / "own")
    model = tied.reload(tmp_path / "saved")
    np.testing.assert_array_equal(model.lm_head.weight.detach().numpy(), own["lm_head.weight"])
    # and where it is missing, it is an error unless the thinker says tied
    edit(untied.directory, tmp_path / "headless", lambda t: t.pop("lm_head.weight"))
    with pytest.raises(InputError, match="headless.*lm_head.weight is missing"):
        hf.load(tmp_path / "headless")


def edit(source, target, change):
    """A copy of a one-file checkpoint with its dict of tensors changed."""
    shutil.copytree(source, target)
    path = target / "model.safetensors"
    found = load_file(path)
    change(found)
    save_file(found, path, metadata={"format": "pt"})


def put(name, value):
    return lambda t: t.update({name: value(t)})


BAD = {
    "missing": (
        lambda t: t.pop("model.layers.1.mlp.up_proj.weight"),
        r"model\.layers\.1\.mlp\.up_proj\.weight.*missing",
    ),
    "missing bias": (lambda t: t.pop("visual.blocks.0.attn.q.bias"), r"visual\.blocks\.0\.attn\.q\.bias.*missing"),
    "unknown": (
        put("model.layers.0.mlp.extra.weight", lambda t: np.zeros(3, np.float32)),
        r"mlp\.extra\.weight.*unknown",
    ),
    "one layer too many": (
        put("model.layers.3.input_layernorm.weight", lambda t: np.zeros(64, np.float32)),
        r"model\.layers\.3\.input_layernorm\.weight.*unknown",
    ),
    "transposed": (
        put("model.layers.2.mlp.down_proj.weight", lambda t: np.zeros((96, 64), np.float32)),
        r"model\.layers\.2\.mlp\.down_proj\.weight has shape \[96, 64\].*\[64, 96\]",
    ),
    "other vocabulary": (put("model.embed_tokens.weight", lambda t: np.zeros((64, 64), np.float32)), "embed_tokens"),
    "integers": (put("model.norm.weight", lambda t: np.ones(64, np.int8)), r"model\.norm\.weight is of type I8"),
    "another type in one layer": (
        put("model.layers.1.mlp.up_proj.weight", lambda t: t["model.layers.1.mlp.up_proj.weight"].astype(np.float16)),
        r"model\.layers\.1\.mlp\.up_proj\.weight.*float16",
    ),
    "quantized by AWQ": (
        lambda t: t.update({"model.layers.0.mlp.up_proj.qweight": t.pop("model.layers.0.mlp.up_proj.weight")}),
        r"mlp\.up_proj\.qweight' is a quantized weight",
    ),
    "quantized to FP8": (
        put("model.layers.0.mlp.up_proj.weight_scale_inv", lambda t: np.ones((1, 1), np.float32)),
        r"weight_scale_inv' is a quantized weight",
    ),
    "one NaN": (
        lambda t: t["model.layers.1.mlp.up_proj.weight"].__setitem__((0, 0), np.nan),
        r"safetensors: model\.layers\.1\.mlp\.up_proj\.weight holds numbers that are not finite",
    ),
    "minus infinity in the head": (
        lambda t: t["lm_head.weight"].__setitem__((-1, -1), -np.inf),
        r"safetensors: lm_head\.weight holds numbers that are not finite",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_tensors_are_named(worlds, tmp_path, name):
    change, message = BAD[name]
    edit(worlds["base"].directory, tmp_path / "bad", change)
    with pytest.raises(InputError, match="bad.*" + message):
        hf.load(tmp_path / "bad")


def test_what_overflows_in_the_type_that_is_asked_for_is_refused(worlds, tmp_path):
    edit(worlds["base"].directory, tmp_path / "large", lambda t: t["lm_head.weight"].__setitem__((0, 0), 1e5))
    assert float(hf.load(tmp_path / "large", jnp.bfloat16)[1]["text"]["lm_head"].max()) == 99840
    with pytest.raises(InputError, match="lm_head.weight holds numbers that are not finite, or not as float16"):
        hf.load(tmp_path / "large", jnp.float16)


@pytest.mark.parametrize("dtype, value", [("float32", np.nan), ("float32", 3.4e38), ("float16", 7e4)])
def test_nothing_that_is_not_finite_is_written(worlds, tmp_path, dtype, value):
    """3.4e38 and 7e4 are finite in float32; the first is not as bfloat16, the second not in the export's float16."""
    world = worlds["base"]
    params = jax.tree.map(lambda x: np.asarray(x).copy(), world.params)
    params["text"]["norm"]["weight"][0] = value
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    with pytest.raises(
        InputError, match=r"new: not written, since model\.norm\.weight holds numbers that are not finite"
    ):
        hf.save(tmp_path / "new", world.config, params, world.directory)
    assert list(tmp_path.iterdir()) == []


def test_types_may_differ_where_one_is_asked_for(worlds, tmp_path):
    change, _ = BAD["another type in one layer"]
    edit(worlds["base"].directory, tmp_path / "mixed", change)
    _, params = hf.load(tmp_path / "mixed", jnp.float32)
    assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def garble_index(value):
    def change(path):
        (path.parent / "model.safetensors.index.json").write_text(value)

    return change


@pytest.mark.parametrize(
    "source, change, message",
    [
        ("directory", truncate, "model.safetensors: not a readable"),
        ("directory", lambda p: p.write_bytes(b""), "model.safetensors: not a readable"),
        ("directory", lambda p: p.unlink(), "neither model.safetensors nor"),
        ("directory", lambda p: (p.unlink(), p.mkdir()), "model.safetensors: not a readable"),
        ("directory", lambda p: (p.parent / "config.json").unlink(), "config.json: cannot be read"),
        ("full", truncate, "safetensors: not a readable"),
        ("full", lambda p: p.unlink(), "safetensors: not a readable"),
        ("full", garble_index("{"), "index.json: no readable weight_map"),
        ("full", garble_index('{"weight_map": ["a"]}'), "index.json: no readable weight_map"),
        ("full", garble_index('{"weight_map": {"a": 3}}'), "index.json: no readable weight_map"),
        ("full", garble_index("[]"), "index.json: no readable weight_map"),
    ],
)
def test_damaged_directories_are_named(worlds, tmp_path, source, change, message):
    shutil.copytree(getattr(worlds["base"], source), tmp_path / "bad")
    change(sorted((tmp_path / "bad").glob("model*.safetensors"))[0])
    with pytest.raises(InputError, match=f"bad.*{message}"):
        hf.load(tmp_path / "bad")


def test_an_index_that_names_the_wrong_file(worlds, tmp_path):
    shutil.copytree(worlds["base"].full, tmp_path / "bad")
    path = tmp_path / "bad" / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"]["thinker.model.norm.weight"] = "model-speech.safetensors"
    path.write_text(json.dumps(index))
    with pytest.raises(
        InputError,
        match=r"holds thinker\.model\.norm\.weight, which model.safetensors.index.json places in model-speech",
    ):
        hf.load(tmp_path / "bad")


def test_no_directory_at_all(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        hf.load(tmp_path / "nowhere")


def test_one_flipped_bit_is_detected(worlds, tmp_path):
    world = worlds["alt"]
    hf.save(tmp_path / "new", world.config, world.params, world.directory, shard_bytes=200_000)
    rng = np.random.default_rng(0)
    for path in sorted((tmp_path / "new").iterdir()):
        data = path.read_bytes()
        for _ in range(3):
            at, bit = int(rng.integers(len(data))), int(rng.integers(8))
            path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            with pytest.raises(InputError, match="new: damaged"):
                hf.load(tmp_path / "new")
        path.write_bytes(data)
    assert same(hf.load(tmp_path / "new")[1], world.params)


@pytest.mark.parametrize("moment", ["first shard", "second shard", "manifest", "rename"])
def test_an_interrupted_save_leaves_nothing(worlds, tmp_path, monkeypatch, moment):
    world, calls = worlds["alt"], []

    def save_file_until(tensors, path, metadata):
        calls.append(path)
        if len(calls) == {"first shard": 1, "second shard": 2}.get(moment):
            path.write_bytes(b"half")
            raise KeyboardInterrupt
        save_file(tensors, path, metadata)

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tensor_files, "save_file", save_file_until)
        if moment == "manifest":
            patch.setattr(hf.manifest, "write_manifest", stop)
        if moment == "rename":
            patch.setattr(
                type(tmp_path),
                "rename",
                lambda self, target: stop() if self.name.endswith(".part") and self.is_dir() else self.replace(target),
            )
        with pytest.raises(KeyboardInterrupt):
            hf.save(tmp_path / "new", world.config, world.params, shard_bytes=100_000)
    assert not (tmp_path / "new").exists()
    hf.save(tmp_path / "new", world.config, world.params, shard_bytes=100_000)
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    assert same(hf.load(tmp_path / "new")[1], world.params)
    assert not list((tmp_path / "new").glob("*.part"))


def test_an_existing_directory_is_not_overwritten(worlds, tmp_path):
    world = worlds["alt"]
    (tmp_path / "new").mkdir()
    with pytest.raises(InputError, match="new: exists already"):
        hf.save(tmp_path / "new", world.config, world.params)
    assert not list((tmp_path / "new").iterdir())


# ------------------------------------------------------------------------------------------------ memory

SLACK = 10 * 2**20  # allocator and bookkeeping
SMALL = dict(
    **{field.name: i for i, field in enumerate(fields(ThinkerConfig)) if field.name.endswith("_token_id")},
    audio=AudioConfig(d_model=64, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64, output_dim=256),
    vision=VisionConfig(
        depth=2, hidden_size=64, intermediate_size=64, num_heads=2, out_hidden_size=256, fullatt_block_indexes=(1,)
    ),
)
LARGE = {
    "deep": ThinkerConfig(
        text=TextConfig(
            vocab_size=4096,
            hidden_size=256,
            intermediate_size=3072,
            num_hidden_layers=20,
            num_attention_heads=4,
            num_key_value_heads=2,
            mrope_section=(8, 12, 12),
        ),
        **SMALL,
    ),
    "wide": ThinkerConfig(
        text=TextConfig(
            vocab_size=110_000,
            hidden_size=256,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            mrope_section=(8, 12, 12),
        ),
        **SMALL,
    ),
}
MEASURE = """
import sys
import jax
from emsa_jax.policy import hf, tensor_files

def status(key):
    line = next(line for line in open("/proc/self/status") if line.startswith(key + ":"))
    return int(line.split()[1]) * 1024

jax.block_until_ready(jax.numpy.zeros(3) + 1)
before = status("VmRSS")
_, params = hf.load(sys.argv[1], sys.argv[2] or None)
jax.block_until_ready(params)
leaves = jax.tree.leaves(params)
print(status("VmHWM") - before, sum(x.nbytes for x in leaves), max(x.nbytes for x in leaves))
"""


@pytest.mark.parametrize(
    "name, shard_bytes, dtype", [("deep", 10**9, ""), ("wide", 2 * 10**7, ""), ("wide", 10**9, "bfloat16")]
)
def test_peak_memory_of_loading(tmp_path, name, shard_bytes, dtype):
    """At most the parameters and 1.3 times the largest stacked tensor; pages of mapped files count."""
    params = init_params(LARGE[name], jax.random.key(0))
    hf.save(tmp_path / "large", LARGE[name], params, shard_bytes=shard_bytes)
    del params
    (tmp_path / "large" / manifest.NAME).unlink()  # hashing is not what is measured
    out = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path / "large"), dtype],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(hf.__file__).parents[2],
    )
    peak, total, largest = map(int, out.stdout.split())
    assert total > 100e6
    assert total * 0.9 < peak <= total + 1.3 * largest + SLACK
