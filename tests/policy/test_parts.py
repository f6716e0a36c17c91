"""Parts out of pretrained directories, each against the class of `transformers` that wrote it."""

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file
from transformers import LlamaConfig, Qwen2Config, Qwen3Config, WhisperConfig

from emsa_jax.errors import InputError
from emsa_jax.policy import decoder, hf, parts, peft
from emsa_jax.policy.audio import encode_chunks
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.layers import layer_norm
from emsa_jax.policy.lora import merge
from emsa_jax.policy.parameter_table import init_params, init_table, num_params, vision_table
from emsa_jax.policy.prompt_row import Row
from emsa_jax.policy.thinker import logits
from emsa_jax.policy.thinker_config import VisionConfig

TOLERANCE = 5e-5
SIZES = dict(
    vocab_size=96,
    hidden_size=48,
    intermediate_size=80,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)


def rope(theta):
    return dict(rope_type="default", rope_theta=theta)


FAMILIES = {
    "qwen2": Qwen2Config(**SIZES, rms_norm_eps=3e-4, tie_word_embeddings=False, rope_parameters=rope(1e6)),
    "llama": LlamaConfig(**SIZES, rms_norm_eps=1e-3, tie_word_embeddings=True, rope_parameters=rope(1e5)),
    "qwen3": Qwen3Config(**SIZES, head_dim=20, rms_norm_eps=5e-4, tie_word_embeddings=True, rope_parameters=rope(1e6)),
}
MEDIA = dict(audio_token_id=3, audio_start_token_id=4, audio_end_token_id=5, image_token_id=6, video_token_id=7)
MEDIA |= dict(vision_start_token_id=8, vision_end_token_id=9)
SMALL_EYE = VisionConfig(
    depth=1, hidden_size=16, intermediate_size=24, num_heads=2, fullatt_block_indexes=(0,), out_hidden_size=48
)


def randomize(model, seed):
    """Norms about 1, biases and matrices large enough that each of them matters to what comes out."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            r = torch.randn(p.shape, generator=generator)
            if name.endswith("encoder.embed_positions.weight"):
                continue
            if p.ndim == 1:
                p.copy_(0.2 * r + (0.0 if name.endswith("bias") else 1.0))
            else:
                p.copy_(r * (0.3 if "embed" in name and "patch" not in name else 1.3 / p[0].numel() ** 0.5))
    return model.eval()


@dataclass(eq=False)
class Text:
    """A text model twice: in torch, and read by us."""

    family: str
    model: torch.nn.Module
    directory: Path

    @functools.cached_property
    def ours(self):
        return hf.load(self.directory)

    @functools.cached_property
    def run(self):
        return jax.jit(lambda params, adapter, inputs: logits(params, adapter, self.ours[0], inputs))

    def again(self, directory, **options):
        kind = getattr(transformers, type(self.model).__name__)
        return kind.from_pretrained(directory, attn_implementation="eager", dtype=torch.float32, **options).eval()


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    found = {}
    for seed, (family, config) in enumerate(FAMILIES.items()):
        kind = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        model = randomize(kind, seed)
        directory = tmp_path_factory.mktemp(family) / "text"
        model.save_pretrained(directory)
        found[family] = Text(family, model, directory)
    return found


@pytest.fixture(params=FAMILIES)
def text(request, texts) -> Text:
    return texts[request.param]


ROWS = np.random.default_rng(0).integers(10, 96, 21)
ROWS = [ROWS[:12].tolist(), ROWS[12:].tolist()]


def batch(pad="left"):
    """Two prompts as torch takes them: ids, mask."""
    width = max(map(len, ROWS))
    ids, mask = np.zeros((2, width), int), np.zeros((2, width), int)
    for i, row in enumerate(ROWS):
        at = slice(width - len(row), None) if pad == "left" else slice(len(row))
        ids[i, at], mask[i, at] = row, 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


@torch.no_grad()
def torch_logits(model, pad="left"):
    ids, mask = batch(pad)
    places = (mask.cumsum(1) - 1).clamp(min=0)
    return model(input_ids=ids, attention_mask=mask, position_ids=places).logits.numpy()


def gap(ours, theirs, pad="left"):
    return np.abs(np.asarray(ours) - theirs)[batch(pad)[1].numpy().astype(bool)].max()


@pytest.mark.parametrize("pad", ["left", "right"])
def test_logits_are_transformers(text, pad):
    config, params = text.ours
    inputs = build_inputs(config, [Row(row) for row in ROWS], pad=pad)
    assert gap(text.run(params, None, inputs), torch_logits(text.model, pad), pad) < TOLERANCE


@pytest.mark.parametrize("place", ["cpu", "tpu"])
def test_decoding_from_the_cache_is_a_forward_of_the_whole(text, monkeypatch, place):
    """Greedy tokens of `generate`, and at each of them the logits of transformers' forward of the whole sequence."""
    monkeypatch.setattr(decoder, "platform", lambda: place)
    config, params = text.ours
    ids, mask = batch()
    steps = 4
    with torch.no_grad():
        whole = text.model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, max_new_tokens=steps, min_new_tokens=steps
        )
        drawn = whole[:, ids.shape[1] :].numpy()
    inputs, tree = build_inputs(config, [Row(row) for row in ROWS]), params["text"]
    hidden, cache = decoder.forward(
        tree, None, config.text, tree["embed_tokens"][inputs.tokens], inputs.positions, inputs.mask
    )
    layers, own = decoder.decode_layers(tree, None, cache), decoder.empty_cache(config.text, 2, steps, jnp.float32)
    step = jax.jit(lambda x, positions, slot, own: decoder.decode_step(
        tree, layers, 0.0, config.text, x, positions, slot, inputs.mask, own
    ))  # fmt: skip
    found = [hidden[:, -1]]
    for t in range(steps - 1):
        h, own = step(tree["embed_tokens"][drawn[:, t]][:, None], inputs.next_position + t, jnp.int32(t), own)
        found.append(h[:, 0])
    found = np.asarray(jnp.stack(found, 1) @ decoder.head(tree).T)
    assert np.array_equal(np.argmax(found, -1), drawn)
    for i, row in enumerate(ROWS):
        with torch.no_grad():
            theirs = text.model(torch.tensor([row + drawn[i].tolist()])).logits[0, len(row) - 1 : -1].numpy()
        assert np.abs(found[i] - theirs).max() < TOLERANCE


def test_a_prompt_shared_by_its_answers(text):
    """The joint forward of a prompt and two answers is transformers' forward of each pair."""
    config, params = text.ours
    inputs, tree = build_inputs(config, [Row(ROWS[0])]), params["text"]
    answers = np.array([[ROWS[1][:5], ROWS[1][3:8]]])
    places = (inputs.next_position[:, :, None] + np.arange(5)).astype(np.int32)
    _, hidden = decoder.forward_groups(
        tree, None, config.text, tree["embed_tokens"][inputs.tokens], inputs.positions, inputs.mask,
        tree["embed_tokens"][answers], places,
    )  # fmt: skip
    for g in range(2):
        with torch.no_grad():
            theirs = text.model(torch.tensor([ROWS[0] + answers[0, g].tolist()])).logits[0, -5:].numpy()
        assert np.abs(np.asarray(hidden[0, g] @ decoder.head(tree).T) - theirs).max() < TOLERANCE


def test_an_adapter_of_peft_there_and_back(texts, text, tmp_path):
    """PEFT's adapter in ours, ours in PEFT, and merged into a directory that transformers loads."""
    wrapped = get_peft_model(
        text.again(text.directory), LoraConfig(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"])
    ).eval()
    randomize_lora(wrapped)
    theirs = torch_logits(wrapped)
    wrapped.save_pretrained(tmp_path / "theirs")
    config, params = text.ours
    inputs = build_inputs(config, [Row(row) for row in ROWS])
    adapter = peft.load_adapter(tmp_path / "theirs", config)
    assert gap(text.run(params, adapter, inputs), theirs) < TOLERANCE
    peft.save_adapter(tmp_path / "ours", config, adapter)
    read = PeftModel.from_pretrained(text.again(text.directory), tmp_path / "ours").eval()
    assert np.abs(torch_logits(read) - theirs).max() < TOLERANCE
    hf.save(tmp_path / "merged", config, merge(params, adapter))
    assert np.abs(torch_logits(text.again(tmp_path / "merged")) - theirs).max() < TOLERANCE
    assert np.abs(theirs - torch_logits(text.model)).max() > 0.1


def randomize_lora(model):
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            if "lora_" in name:
                p.copy_(0.15 * torch.randn(p.shape, generator=generator))


def test_a_text_model_is_written_as_it_was_read(text, tmp_path):
    config, params = text.ours
    for source in (None, text.directory):
        hf.save(tmp_path / str(source is None), config, params, source)
        new = tmp_path / str(source is None)
        assert hf.load(new)[0] == config
        before, after = (load_file(d / "model.safetensors") for d in (text.directory, new))
        assert before.keys() == after.keys() and all(np.array_equal(before[k], after[k]) for k in before)
        assert json.loads((new / "config.json").read_text())["model_type"] == text.family
    assert num_params(config) == sum(p.numel() for p in text.model.parameters())
    assert jax.tree.map(jnp.shape, init_params(config, jax.random.key(0))) == jax.tree.map(jnp.shape, params)


# Whisper


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """(model, directory with the encoder's names of WhisperModel, directory with those of the hub)."""
    config = WhisperConfig(
        vocab_size=20, num_mel_bins=80, d_model=24, encoder_layers=2, encoder_attention_heads=3, encoder_ffn_dim=40,
        decoder_layers=1, decoder_attention_heads=3, decoder_ffn_dim=8, max_source_positions=60,
        max_target_positions=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration._from_config(config, attn_implementation="eager")
    randomize(model, 4)
    root = tmp_path_factory.mktemp("whisper")
    model.model.save_pretrained(root / "bare")
    model.save_pretrained(root / "hub")
    return model, root / "bare", root / "hub"


@pytest.mark.parametrize("bins", [80, 128])
def test_whispers_encoder_is_omnis_tower(whisper, bins):
    """Whole sound in one chunk: with the true convolution over 80 bins, and with the composed one over 128."""
    model, bare, hub = whisper
    encoder = model.model.encoder
    mel = np.random.default_rng(bins).standard_normal((1, 120, bins)).astype(np.float32)
    config, params = parts.read_audio_tower(bare, 48, jax.random.key(0), bins=bins)
    assert (config.n_window, config.num_mel_bins, config.output_dim) == (60, bins, 48)
    ours = layer_norm(encode_chunks(params, None, config, mel, jnp.array([120])), params["ln_post"])
    theirs = torch.from_numpy(mel.transpose(0, 2, 1))
    if bins == 128:  # what the bands of 80 would have been, by NumPy's own interpolation
        low, high = (np.arange(1, n + 1) / (n + 1) for n in (80, 128))
        read = [np.interp(low, high, frame) for frame in mel[0]]
        theirs = torch.tensor(np.array(read).T[None], dtype=torch.float32)
    with torch.no_grad():
        theirs = encoder(theirs).last_hidden_state.numpy()
    assert np.abs(np.asarray(ours) - theirs).max() < TOLERANCE
    again = parts.read_audio_tower(hub, 48, jax.random.key(0), bins=bins)
    assert again[0] == config
    assert jax.tree.all(jax.tree.map(np.array_equal, again[1], params))


def test_a_llama_that_hears_is_a_thinker(texts, whisper, tmp_path):
    """Joined with Whisper's encoder and a small random eye: `transformers` loads it, and its words are Llama's."""
    text = texts["llama"]
    sees = SMALL_EYE, init_table(tuple(vision_table(SMALL_EYE)), jax.random.key(1))["vision"]
    hears = parts.read_audio_tower(whisper[2], 48, jax.random.key(0), n_window=20)
    config, params = parts.join_parts(parts.read_text_model(text.directory), hears, sees, **MEDIA)
    hf.save(tmp_path / "policy", config, params)
    assert hf.load(tmp_path / "policy")[0] == config
    kind = transformers.Qwen2_5OmniThinkerForConditionalGeneration
    model = kind.from_pretrained(tmp_path / "policy", attn_implementation="eager", dtype=torch.float32).eval()
    assert gap(torch_logits(text.model), logits_of(model, *batch())) < TOLERANCE
    mel = np.random.default_rng(0).standard_normal((61, 128)).astype(np.float32)
    row = Row([20, 4, *[3] * 15, 5, 30, 31], [mel])
    theirs = logits_of(
        model, torch.tensor([row.tokens]), torch.ones(1, len(row.tokens), dtype=int),
        input_features=torch.from_numpy(mel.T[None]), feature_attention_mask=torch.ones(1, 61, dtype=int),
    )  # fmt: skip
    ours = logits(params, None, config, build_inputs(config, [row]))
    assert np.abs(np.asarray(ours) - theirs).max() < TOLERANCE


@torch.no_grad()
def logits_of(model, ids, mask, **media):
    model.model.rope_deltas = None
    return model(input_ids=ids, attention_mask=mask, use_cache=False, **media).logits.numpy()


# bad input


def edited(source: Path, to: Path, **fields) -> Path:
    """A copy of a directory with other fields in config.json."""
    to.mkdir()
    for file in source.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    raw = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps({k: v for k, v in (raw | fields).items() if v is not None}))
    return to


@pytest.mark.parametrize(
    "fields, names",
    [
        (dict(model_type="gemma2"), "model_type is 'gemma2'.*qwen2, llama, qwen3"),
        (dict(model_type="whisper"), "model_type is 'whisper'"),
        (dict(attention_bias=True), "attention_bias"),
        (dict(mlp_bias=True), "mlp_bias"),
        (dict(hidden_act="gelu"), "hidden_act"),
        (dict(rope_parameters=dict(rope_type="llama3", rope_theta=1e5)), "rope_scaling.type is 'llama3'"),
        (dict(hidden_size=None), "hidden_size is None"),
        (dict(num_key_value_heads=3), "num_key_value_heads"),
        (dict(eos_token_id=None), "eos_token_id"),
        (dict(head_dim=9), "mrope_section.*head_dim, 9"),
        (dict(model_type="qwen3", head_dim=None), "missing|shape"),
        (dict(tie_word_embeddings=False), "lm_head.weight is missing"),
        (dict(num_hidden_layers=3), "tensors are missing.*layers.2"),
    ],
)
def test_text_models_that_are_refused(texts, tmp_path, fields, names):
    directory = edited(texts["llama"].directory, tmp_path / "bad", **fields)
    with pytest.raises(InputError, match=f"bad.*({names})") as error:
        parts.read_text_model(directory)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "fields, names",
    [
        (dict(model_type="hubert"), "model_type is 'hubert', but audio towers are read from whisper"),
        (dict(num_mel_bins=64), "num_mel_bins is 64, but only 80 and 128"),
        (dict(activation_function="relu"), "activation_function"),
        (dict(encoder_layers=3), "layers.2"),
        (dict(encoder_layers=1), "unknown.*layers.1|layers.1.*unknown"),
        (dict(max_source_positions=61), "sinusoids"),
        (dict(d_model=25), "shape|d_model"),
    ],
)
def test_towers_that_are_refused(whisper, tmp_path, fields, names):
    directory = edited(whisper[1], tmp_path / "bad", **fields)
    with pytest.raises(InputError, match=f"bad.*({names})") as error:
        parts.read_audio_tower(directory, 48, jax.random.key(0))
    assert "\n" not in str(error.value)


def test_damaged_and_unfitting_parts(texts, whisper, tmp_path):
    cut = edited(whisper[1], tmp_path / "cut")
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-9])
    with pytest.raises(InputError, match="cut/model.safetensors: not a readable safetensors file"):
        parts.read_audio_tower(cut, 48, jax.random.key(0))
    moved = edited(whisper[1], tmp_path / "moved")
    tensors = load_file(moved / "model.safetensors")
    tensors["encoder.embed_positions.weight"] += 0.5
    save_file(tensors, moved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="not Whisper's sinusoids"):
        parts.read_audio_tower(moved, 48, jax.random.key(0))
    with pytest.raises(InputError, match="no audio tower"):
        config, params = texts["qwen3"].ours
        hf.save(tmp_path / "deaf", replace(config, vision=SMALL_EYE), params | sight())
        parts.read_audio_tower(tmp_path / "deaf", 48, jax.random.key(0))
    narrow = parts.read_audio_tower(whisper[1], 40, jax.random.key(0))
    with pytest.raises(InputError, match="audio_config.output_dim is 40, but the text model is 48 wide"):
        parts.join_parts(texts["llama"].ours, narrow)


def sight():
    return init_table(tuple(vision_table(SMALL_EYE)), jax.random.key(1))
