"""A policy out of tiny random parts, as `transformers` writes them, against `transformers`."""

import json

import jax
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from emsa_jax import manifest
from emsa_jax.data.mel import log_mel
from emsa_jax.errors import InputError
from emsa_jax.policy import thinker
from emsa_jax.policy.assemble import Parts, assemble
from emsa_jax.policy.checkpoint import fingerprint, open_checkpoint
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.parts import read_text_model
from emsa_jax.policy.prompt_row import Row, expand
from emsa_jax.policy.thinker_config import BridgeConfig
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.training.bridge_options import BridgesOptions
from emsa_jax.training.bridges import fresh_bridge, save_bridge

TEXT = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=2)  # fmt: skip
WHISPER = dict(d_model=48, encoder_layers=2, encoder_attention_heads=3, encoder_ffn_dim=96, decoder_layers=1,
               decoder_attention_heads=3, decoder_ffn_dim=48, num_mel_bins=80, vocab_size=64, max_target_positions=16,
               pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1)  # fmt: skip

HEARD = [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "In 12 words"}]}]


def make_parts(at, write_tokenizer):
    torch.manual_seed(0)
    (at / "text").mkdir()
    rows = write_tokenizer(at / "text")
    llama = LlamaForCausalLM(LlamaConfig(vocab_size=rows, tie_word_embeddings=True, rope_theta=1e5, **TEXT))
    with torch.no_grad():  # large enough that a wrong position shows
        for weight in llama.parameters():
            weight.mul_(4) if weight.ndim > 1 else weight.add_(torch.randn_like(weight) * 0.2)
    llama.save_pretrained(at / "text")
    (at / "text" / "LICENSE").write_text("mine")
    (at / "text" / "SOURCE.py").write_text("print('ran')")  # no code goes along, and nothing from outside
    (at / "text" / "NOTICE").symlink_to("/etc/hostname")
    (at / "text" / "LICENSES").mkdir()
    WhisperForConditionalGeneration(WhisperConfig(**WHISPER)).save_pretrained(at / "audio")


@pytest.fixture(scope="module")
def parts_dir(tmp_path_factory, write_tokenizer):
    at = tmp_path_factory.mktemp("parts")
    make_parts(at, write_tokenizer)
    return at


def chosen(at, **given):
    whole = dict(dtype="float32", vision_tokens="cls", n_window=0, media_tokens="auto", chat_template="", seed=0)
    return Parts(**whole | dict(text=str(at / "text"), audio=str(at / "audio"), vision="") | given)


@pytest.fixture(scope="module")
def made(parts_dir):
    return parts_dir / "policy", assemble(chosen(parts_dir), parts_dir / "policy")


def reference(directory):
    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(
        directory, attn_implementation="eager", dtype=torch.float32, output_loading_info=True
    )
    model, info = model
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    return model.eval()


def our_logits(checkpoint, row):
    inputs = build_inputs(checkpoint.config, [row])
    found = jax.jit(lambda params, inputs: thinker.logits(params, None, checkpoint.config, inputs))(
        checkpoint.params, inputs
    )
    return np.asarray(found)[0, -len(row.tokens) :]


def test_what_was_chosen_is_said_and_kept(parts_dir, made):
    directory, lines = made
    assert any("in place of 3 <repo_name>" in line for line in lines)
    assert any("80 mel bins read out of 128; attention within 10 s (n_window 500)" in line for line in lines)
    assert any("projection to 64 is drawn at random (seed 0) and has to be trained" in line for line in lines)
    assert all(f"- {line}\n" in (directory / "SOURCE.md").read_text() for line in lines)
    assert (directory / "LICENSE-text").read_text() == "mine"
    assert not [path.name for path in directory.iterdir() if path.name.startswith(("NOTICE", "SOURCE-text"))]
    assert any("licence of audio: no file beside it" in line for line in lines)
    assert manifest.verify(directory) == []
    assert json.loads((directory / "generation_config.json").read_text())["eos_token_id"] == 2
    modes = {(directory / name).stat().st_mode for name in ("config.json", "model.safetensors")}
    assert len(modes) == 1  # weights are as readable as the rest


def test_text_logits_are_the_text_models(parts_dir, made):
    tokenizer = AutoTokenizer.from_pretrained(made[0])
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Is 12 more?"}], tokenize=False)
    ids = tokenizer(text)["input_ids"]
    llama = LlamaForCausalLM.from_pretrained(parts_dir / "text", attn_implementation="eager").eval()
    with torch.no_grad():
        plain = llama(torch.tensor([ids])).logits[0].numpy()
        joined = reference(made[0])(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids))).logits[0]
    np.testing.assert_array_equal(joined.numpy(), plain)
    ours = our_logits(open_checkpoint(made[0]), Row(ids))
    assert np.abs(plain).max() > 1
    assert np.abs(ours - plain).max() < 2e-4


def test_logits_with_sound(parts_dir, made):
    """A sound of two chunks and more, through the directory's own feature extractor and chat template."""
    directory = parts_dir / "windowed"
    assemble(chosen(parts_dir, n_window=40), directory)
    wave = np.random.default_rng(0).standard_normal(32700).astype(np.float32)
    extractor = WhisperFeatureExtractor.from_pretrained(directory)
    heard = extractor(wave, sampling_rate=16000, return_attention_mask=True, return_tensors="pt", padding="max_length")
    mel = log_mel(wave)
    assert int(heard["attention_mask"].sum()) == len(mel) == 205
    checkpoint = open_checkpoint(directory)
    text = checkpoint.tokenizer.apply_chat_template(HEARD, tokenize=False, add_generation_prompt=True)
    ids = expand(checkpoint.config, checkpoint.tokenizer(text)["input_ids"], [mel])
    assert ids.count(checkpoint.config.audio_token_id) == 51
    with torch.no_grad():
        theirs = reference(directory)(
            input_ids=torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            input_features=heard["input_features"],
            feature_attention_mask=heard["attention_mask"],
        ).logits[0]
    ours = our_logits(checkpoint, Row(ids, [mel]))
    assert np.abs(ours - theirs.numpy()).max() < 3e-4
    without = our_logits(checkpoint, Row(ids, [np.zeros_like(mel)]))
    assert np.abs(ours - without)[-1].max() > 0.1  # the sound is heard


def test_a_drawn_projection_gives_tokens_as_large_as_words(made):
    checkpoint = open_checkpoint(made[0])
    mel = log_mel(np.random.default_rng(1).standard_normal(16000).astype(np.float32))
    ids = expand(checkpoint.config, [checkpoint.config.audio_token_id], [mel])
    encode = jax.jit(lambda params, inputs: thinker.encode(params, None, checkpoint.config, inputs))
    x = encode(checkpoint.params, build_inputs(checkpoint.config, [Row(ids, [mel])]))
    words = np.linalg.norm(np.asarray(checkpoint.params["text"]["embed_tokens"]), axis=1).mean()
    assert 0.7 < np.linalg.norm(np.asarray(x)[0, -len(ids) :], axis=1).mean() / words < 1.4


def test_the_same_weights_from_elsewhere_give_the_same_policy(parts_dir, made, tmp_path, write_tokenizer):
    """In shards and under the names of a base class, with settings that no policy has."""
    (tmp_path / "text").mkdir()
    write_tokenizer(tmp_path / "text")
    llama = LlamaForCausalLM.from_pretrained(parts_dir / "text")
    llama.save_pretrained(tmp_path / "text", max_shard_size="20KB")
    assert (tmp_path / "text" / "model.safetensors.index.json").exists()
    (tmp_path / "text" / "LICENSE").write_text("mine")
    WhisperForConditionalGeneration.from_pretrained(parts_dir / "audio").model.save_pretrained(tmp_path / "audio")
    assemble(chosen(tmp_path), tmp_path / "policy")
    assert fingerprint(tmp_path / "policy") == fingerprint(made[0])


def test_new_rows_are_the_mean_of_the_others(parts_dir, tmp_path):
    lines = assemble(chosen(parts_dir, media_tokens="add", dtype="bfloat16"), tmp_path / "policy")
    assert any(line.startswith("media tokens: new, ids 266 to 272") for line in lines)
    checkpoint = open_checkpoint(tmp_path / "policy")
    words = np.asarray(checkpoint.params["text"]["embed_tokens"])
    assert words.shape[0] == checkpoint.config.text.vocab_size == 273 and words.dtype.name == "bfloat16"
    mean = words[:266].astype(np.float32).mean(0)
    assert np.abs(words[266:].astype(np.float32) - mean).max() < 1e-2
    reference(tmp_path / "policy")


def test_parts_that_the_thinker_cannot_hold_have_our_layout(parts_dir, tmp_path, write_tokenizer):
    (tmp_path / "text").mkdir()
    rows = write_tokenizer(tmp_path / "text")
    Qwen3ForCausalLM(Qwen3Config(vocab_size=rows, head_dim=16, **TEXT)).save_pretrained(tmp_path / "text")
    lines = assemble(chosen(tmp_path, audio=str(parts_dir / "audio")), tmp_path / "policy")
    assert "vision: none" in lines and any("layout: our own" in line for line in lines)
    assert json.loads((tmp_path / "policy" / "config.json").read_text())["model_type"] == "emsa_policy"
    checkpoint = open_checkpoint(tmp_path / "policy")
    assert checkpoint.config.vision is None and checkpoint.config.text.qk_norm
    mel = log_mel(np.zeros(8000, np.float32))
    ids = expand(checkpoint.config, checkpoint.tokenizer("a<|AUDIO|>b")["input_ids"], [mel])
    assert np.isfinite(our_logits(checkpoint, Row(ids, [mel]))).all()


def test_vision_towers(parts_dir, tmp_path):
    """Omni's keeps the Thinker's layout, though its last linear is drawn anew; CLIP's has our own."""
    make_tiny(tmp_path / "tiny", ["some words"], seed=0)
    clip = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    CLIPVisionModel(clip).save_pretrained(tmp_path / "clip")
    lines = assemble(chosen(parts_dir, vision=str(tmp_path / "tiny")), tmp_path / "omni")
    assert "vision: tiny; its projection to 64 is drawn at random (seed 0) and has to be trained" in lines
    reference(tmp_path / "omni")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("tiny", "omni"))
    name = "visual.blocks.1.attn.q.weight"
    np.testing.assert_array_equal(before[name], after[name])
    lines = assemble(chosen(parts_dir, vision=str(tmp_path / "clip")), tmp_path / "own")
    assert any("layout: our own" in line for line in lines)
    assert "vision: clip, the class token of each frame; its projection" in "\n".join(lines)
    lines = assemble(chosen(parts_dir, vision=str(tmp_path / "clip"), vision_tokens="patches"), tmp_path / "patches")
    assert "vision: clip, each patch of a frame; its projection" in "\n".join(lines)
    towers = [open_checkpoint(tmp_path / name).config.vision for name in ("own", "patches")]
    assert [tower.out_hidden_size for tower in towers] == [64, 64]
    assert [tower.patches // tower.spatial_merge_size**2 for tower in towers] == [1, 4]  # tokens of a frame
    with pytest.raises(InputError, match="config.vision_tokens: patches is for CLIP"):
        assemble(chosen(parts_dir, vision=str(tmp_path / "tiny"), vision_tokens="patches"), tmp_path / "none")


def of_kind(field, value, part="text"):
    """The part's config with another value of a field."""

    def edit(at):
        path = at / part / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))

    return edit


def narrower(at):
    path = at / "audio" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.encoder.layer_norm.weight"] = tensors["model.encoder.layer_norm.weight"][:40]
    save_file(tensors, path, metadata={"format": "pt"})


def cut(part):
    def edit(at):
        path = at / part / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-50])

    return edit


BAD = {
    "an unknown text model": (of_kind("model_type", "gemma"), {}, "model_type is 'gemma', but"),
    "an unknown audio tower": (of_kind("model_type", "wav2vec2", "audio"), {}, "audio.*model_type is 'wav2vec2', but"),
    "mel bins": (
        of_kind("num_mel_bins", 96, "audio"),
        {},
        "num_mel_bins is 96, but only 80 and 128 can be mapped to 128",
    ),
    "a misfit": (narrower, {}, r"layer_norm.weight has shape \[40\].* \[48\]"),
    "a truncated text model": (cut("text"), {}, "text/model.safetensors: not a readable safetensors file"),
    "a truncated tower": (cut("audio"), {}, "audio/model.safetensors: not a readable safetensors file"),
    "a window": (lambda at: None, {"n_window": 2000}, "config.n_window: 2000, but this tower has 1500 positions"),
    "a template": (lambda at: None, {"chat_template": "nowhere"}, "config.chat_template: nowhere cannot be read"),
    "rope": (
        of_kind("rope_parameters", {"rope_type": "llama3", "factor": 8.0}),
        {},
        "rope_parameters.type is 'llama3'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_joined(tmp_path, write_tokenizer, name):
    edit, given, message = BAD[name]
    make_parts(tmp_path, write_tokenizer)
    edit(tmp_path)
    with pytest.raises(InputError, match=message) as error:
        assemble(chosen(tmp_path, **given), tmp_path / "policy")
    assert "\n" not in str(error.value)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("policy")]


def test_how_the_policy_of_the_preset_smol_is_made_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="policy weights/smol: no such directory; make weights makes it"):
        open_checkpoint("weights/smol")
    with pytest.raises(InputError, match="no such directory$"):
        open_checkpoint("weights/other")
    (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match="run/export/merged: no such directory; the run in run has not exported it"):
        open_checkpoint("run/export/merged")


def test_bridges_stand_behind_the_towers(parts_dir, write_tokenizer, tmp_path):
    """XEmoGPT's parts: Qwen3, CLIP and VECB, a tower of sound and AECB; one bridge drawn, one as a stage wrote it."""
    (tmp_path / "text").mkdir()
    rows = write_tokenizer(tmp_path / "text")
    Qwen3ForCausalLM(Qwen3Config(vocab_size=rows, head_dim=16, **TEXT)).save_pretrained(tmp_path / "text")
    clip = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    CLIPVisionModel(clip).save_pretrained(tmp_path / "clip")
    trained = BridgeConfig(32, 48, 2, 3, 1e-5, positions=4, output_size=5, text_size=6)
    weights = fresh_bridge(BridgesOptions(seed=7), trained)
    save_bridge(tmp_path / "vecb", trained, weights, {})
    given = dict(text=str(tmp_path / "text"), vision=str(tmp_path / "clip"))
    bridges = dict(vision_bridge=str(tmp_path / "vecb"), audio_bridge="fresh")
    lines = "\n".join(assemble(chosen(parts_dir, **given, **bridges), tmp_path / "policy"))
    assert "audio bridge: 2 layers, drawn" in lines and "vision bridge: 3 layers, from vecb" in lines
    made = open_checkpoint(tmp_path / "policy")
    assert (made.config.vision_bridge.positions, made.config.audio_bridge.hidden_size) == (4, 48)
    jax.tree.map(np.testing.assert_array_equal, made.params["vision"]["bridge"], weights["bridge"])
    text = read_text_model(tmp_path / "policy")[0]
    assert text.text_alone and not text.bridged
    for wrong, message in (
        (dict(vision=""), "config.vision_bridge: a bridge stands behind a tower"),
        (dict(vision_tokens="patches"), "config.vision_bridge: the bridge reads CLIP's class tokens"),
        (dict(audio_bridge=str(tmp_path / "vecb")), "vecb: this bridge is 32 wide"),
    ):
        with pytest.raises(InputError, match=message):
            assemble(chosen(parts_dir, **given | bridges | wrong), tmp_path / "none")
    assert not (tmp_path / "none").exists()
