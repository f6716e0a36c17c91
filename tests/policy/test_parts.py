"""Parts out of pretrained directories, each against the class of `transformers` that wrote it."""

import functools
import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import load_file, save_file
from transformers import CLIPConfig, LlamaConfig, Qwen2_5_VLConfig, Qwen2Config, Qwen3Config, WhisperConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from emsa_jax.answers.formats import make_format
from emsa_jax.errors import InputError
from emsa_jax.policy import checkpoint, decoder, hf, parts, peft
from emsa_jax.policy.audio import encode_chunks
from emsa_jax.policy.clip import encode_clip_text
from emsa_jax.policy.hf_config import from_hf
from emsa_jax.policy.inputs import build_inputs
from emsa_jax.policy.layers import layer_norm
from emsa_jax.policy.lora import init_adapter, merge
from emsa_jax.policy.parameter_table import init_params, init_table, num_params, vision_table
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.positions import Grid
from emsa_jax.policy.prompt_row import MEAN, STD, Row, Visual, patchify
from emsa_jax.policy.thinker import encode_prompts, logits
from emsa_jax.policy.thinker_config import ClipConfig, TextConfig, ThinkerConfig, VisionConfig
from emsa_jax.policy.tiny import make_tiny
from emsa_jax.policy.vision import encode_vision
from emsa_jax.rollout.prompts import Prompter
from emsa_jax.rollout.rollout_options import PromptOptions, SamplingOptions
from emsa_jax.rollout.sampler import prefill, sample

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
            if p.ndim == 0 or name.endswith("encoder.embed_positions.weight"):
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


def test_sampled_answers_have_the_probabilities_of_a_whole_forward(text):
    """Two answers to each prompt out of one cache: their log-probabilities are transformers' of prompt and answer."""
    config, params = text.ours
    inputs = build_inputs(config, [Row(row) for row in ROWS])

    @jax.jit
    def run(params, inputs):
        state = prefill(params, None, config, encode_prompts(params, None, config, inputs))
        drawn = dict(options=SamplingOptions(), group_size=2, slots=5)
        return sample(params, None, config, state, noise=jnp.array([3, 0, 0]), prompt_ids=jnp.arange(2), **drawn)

    answers = run(params, inputs)
    for i, row in enumerate(ROWS):
        for g in range(2):
            length = int(answers.length[i, g])
            tokens = np.asarray(answers.tokens[i, g, :length])
            with torch.no_grad():
                theirs = text.model(torch.tensor([row + tokens.tolist()])).logits[0].log_softmax(-1).numpy()
            theirs = theirs[np.arange(len(row) - 1, len(row) - 1 + length), tokens]
            assert np.abs(np.asarray(answers.logps[i, g, :length]) - theirs).max() < TOLERANCE


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
    hears = with_bias(*parts.read_audio_tower(whisper[2], 48, jax.random.key(0), n_window=20))
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


# vision towers


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """(CLIPModel, its directory)."""
    config = CLIPConfig(
        projection_dim=12,
        vision_config=dict(
            hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, image_size=42,
            patch_size=14, layer_norm_eps=3e-4,
        ),
        text_config=dict(
            vocab_size=40, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
            max_position_embeddings=10, layer_norm_eps=3e-4, bos_token_id=37, eos_token_id=38, pad_token_id=38,
        ),
    )  # fmt: skip
    model = randomize(transformers.CLIPModel._from_config(config, attn_implementation="eager"), 7)
    directory = tmp_path_factory.mktemp("clip") / "clip"
    model.save_pretrained(directory)
    return model, directory


def pixels(frames, side):
    return np.random.default_rng(1).integers(0, 256, (frames, side, side, 3)).astype(np.uint8)


def normalized(frames):
    return torch.from_numpy(((frames / 255 - MEAN) / STD).astype(np.float32).transpose(0, 3, 1, 2))


@pytest.mark.parametrize("tokens", ["cls", "patches"])
def test_clips_vision_transformer(clips, tokens):
    """What goes to the text model is a linear map of the states before the last norm: of a film, frame by frame, and
    of a picture, whose rows stand in one table."""
    model, directory = clips
    config, params = with_bias(*parts.read_vision_tower(directory, 48, jax.random.key(0), tokens))
    policy = policy_with(config)
    film, picture = pixels(3, 42), pixels(1, 42) // 2
    row = Row([], [], [patchify(policy, picture, is_video=False)], [patchify(policy, film)])
    count = 1 if tokens == "cls" else 9
    row.tokens.extend([20, *[policy.image_token_id] * count, 21, *[policy.video_token_id] * 3 * count, 22])
    inputs = build_inputs(policy, [row])
    ours = np.asarray(encode_vision(params, None, config, inputs.patches, None, None, None))
    ours = ours[inputs.media_index[inputs.media_index >= 0]]
    with torch.no_grad():
        states = model.vision_model(normalized(np.concatenate([picture, film]))).last_hidden_state.numpy()
    states = states[:, :1] if tokens == "cls" else states[:, 1:]
    theirs = states.reshape(-1, 24) @ np.asarray(params["proj"]["weight"]).T + np.asarray(params["proj"]["bias"])
    assert np.abs(ours - theirs).max() < TOLERANCE
    # a film's frames follow one another in time; patches also know row and column
    time, height, width = inputs.positions[:, 0, count + 2 : -1].reshape(3, 3, count)
    assert (np.diff(time, axis=0) == policy.position_id_per_seconds).all()
    assert len(np.unique(height)) == len(np.unique(width)) == (1 if tokens == "cls" else 3)


def with_bias(config, params):
    """A tower whose projector has a bias that is not zero, as training leaves it."""
    bias = np.random.default_rng(0).standard_normal(48).astype(np.float32)
    return config, params | {"proj": params["proj"] | {"bias": jnp.asarray(bias)}}


def policy_with(vision):
    """A policy that sees through this tower."""
    return ThinkerConfig(TextConfig(**LLAMA), None, vision, tie_word_embeddings=True, **MEDIA)


LLAMA = {k: v for k, v in SIZES.items() if not k.endswith("_id")} | dict(qkv_bias=False, mrope_section=(2, 2, 2))


def test_clips_text_encoder(clips):
    model, directory = clips
    config, params = parts.read_clip_text(directory)
    ids = np.array([[37, 5, 6, 7, 38, 38], [37, 9, 38, 38, 38, 38], [37, 39, 4, 8, 9, 38]])
    mask = np.array([[1] * 5 + [0], [1] * 3 + [0] * 3, [1] * 6])
    for end in (38, 2):
        model.text_model.eos_token_id = end
        with torch.no_grad():
            theirs = model.get_text_features(torch.from_numpy(ids), torch.from_numpy(mask)).pooler_output.numpy()
        ours = encode_clip_text(params, replace(config, eos_token_id=end), ids, mask)
        assert np.abs(np.asarray(ours) - theirs).max() < TOLERANCE
    model.text_model.eos_token_id = 38


def test_a_frame_becomes_clips_square():
    """As the image processor of `transformers` makes it, of frames that are wide, high and square."""
    processor = CLIPImageProcessorPil(size=dict(shortest_edge=42), crop_size=dict(height=42, width=42))
    policy = policy_with(ClipConfig(hidden_size=24, image_size=42, patch_size=14, out_hidden_size=48))
    for height, width in ((61, 97), (113, 50), (42, 42), (84, 84)):
        frame = pixels(1, 120)[0, :height, :width]
        theirs = processor(frame, return_tensors="np")["pixel_values"].reshape(1, 3, 3, 14, 3, 14)
        ours = patchify(policy, frame[None]).patches
        assert np.abs(ours - theirs.transpose(0, 2, 4, 1, 3, 5).reshape(9, -1)).max() < 1e-5


def test_qwen_vls_tower_is_omnis(tmp_path):
    """Qwen2.5-VL keeps queries, keys and values of a layer in one matrix."""
    config = Qwen2_5_VLConfig(
        text_config=dict(SIZES, rope_parameters=rope(1e6) | dict(mrope_section=[2, 2, 2])),
        vision_config=dict(
            depth=2, hidden_size=32, intermediate_size=40, num_heads=2, out_hidden_size=48, fullatt_block_indexes=[1],
            window_size=56,
        ),
    )  # fmt: skip
    kind = transformers.Qwen2_5_VLForConditionalGeneration
    model = randomize(kind._from_config(config, attn_implementation="eager"), 3)
    model.save_pretrained(tmp_path / "vl")
    tower, params = parts.read_vision_tower(tmp_path / "vl", 48, jax.random.key(0))
    assert (tower.hidden_size, tower.window_size, tower.out_hidden_size) == (32, 56, 48)
    policy = policy_with(tower)
    grid = Grid(2, 8, 12)
    patches = np.random.default_rng(0).standard_normal((192, tower.patch_dim)).astype(np.float32)
    inputs = build_inputs(policy, [Row([policy.video_token_id] * 48, [], [], [Visual(patches, grid)])])
    ours = encode_vision(params, None, tower, inputs.patches, inputs.patch_hw, inputs.frame, inputs.window)
    with torch.no_grad():
        theirs = model.model.visual(torch.from_numpy(patches), torch.tensor([[2, 8, 12]])).pooler_output.numpy()
    assert np.abs(np.asarray(ours)[inputs.media_index[0]] - theirs).max() < TOLERANCE
    other = parts.read_vision_tower(tmp_path / "vl", 40, jax.random.key(0))
    assert other[1]["merger_out"]["weight"].shape == (40, 128) and other[0].out_hidden_size == 40
    assert np.array_equal(other[1]["merger_in"]["weight"], params["merger_in"]["weight"])


# our own layout


@pytest.fixture(scope="module")
def own(texts, whisper, clips):
    """A Qwen3 that hears with Whisper's encoder and sees with CLIP: (config, parameters)."""
    hears = with_bias(*parts.read_audio_tower(whisper[1], 48, jax.random.key(0), n_window=20))
    sees = with_bias(*parts.read_vision_tower(clips[1], 48, jax.random.key(1)))
    return parts.join_parts(parts.read_text_model(texts["qwen3"].directory), hears, sees, **MEDIA)


def test_our_own_layout_there_and_back(own, texts, tmp_path):
    config, params = own
    hf.save(tmp_path / "policy", config, params, extra={"stage": "test"})
    raw = json.loads((tmp_path / "policy" / "config.json").read_text())
    assert raw["model_type"] == "emsa_policy" and raw["text_config"]["model_type"] == "qwen3"
    again = hf.load(tmp_path / "policy")
    assert again[0] == config
    assert jax.tree.all(jax.tree.map(np.array_equal, again[1], params))
    assert checkpoint.fingerprint(tmp_path / "policy")
    # its parts can be taken out of it again, and written as the text model that they were
    text = parts.read_text_model(tmp_path / "policy")
    hf.save(tmp_path / "text", *text)
    inputs = build_inputs(texts["qwen3"].ours[0], [Row(row) for row in ROWS])
    assert gap(texts["qwen3"].run(text[1], None, inputs), torch_logits(texts["qwen3"].model)) < TOLERANCE
    assert parts.read_audio_tower(tmp_path / "policy", 48, jax.random.key(0))[0] == config.audio
    assert parts.read_vision_tower(tmp_path / "policy", 48, jax.random.key(0))[0] == config.vision
    # a damaged tensor is noticed by its hash
    file = tmp_path / "policy" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x55")
    with pytest.raises(InputError, match="model.safetensors"):
        hf.load(tmp_path / "policy")


def test_our_own_layout_is_opened_with_its_tokenizer(tmp_path, capfd):
    """And without a word of `transformers`, which does not know it."""
    make_tiny(tmp_path / "tiny", ["hello world 12"], 0, 320)
    tiny = checkpoint.open_checkpoint(tmp_path / "tiny")
    capfd.readouterr()
    blind = replace(tiny.config, vision=None)
    (tmp_path / "files").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "preprocessor_config.json"):
        (tmp_path / "files" / name).write_bytes((tmp_path / "tiny" / name).read_bytes())
    hf.save(tmp_path / "blind", blind, {k: v for k, v in tiny.params.items() if k != "vision"}, tmp_path / "files")
    opened = checkpoint.open_checkpoint(tmp_path / "blind")
    assert opened.config == blind and opened.params.keys() == {"text", "audio"}
    assert opened.tokenizer("hello 12")["input_ids"] == tiny.tokenizer("hello 12")["input_ids"]
    assert capfd.readouterr() == ("", "")
    # a text model alone: its template takes text, or the parts that a policy's takes
    hf.save(tmp_path / "alone", *parts.read_text_model(tmp_path / "tiny"), tmp_path / "files")
    alone = checkpoint.open_checkpoint(tmp_path / "alone")
    words = SimpleNamespace(text="hello 12", language="en", frames=(), mel=())
    prompter = Prompter(alone, make_format("label_only", (-3.0, 3.0)), PromptOptions(modalities=("text",)))
    as_parts = alone.tokenizer.decode(prompter.row(words).tokens)
    alone.tokenizer.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] + '\n' + m['content'] | trim }}<|im_end|>\n{% endfor %}"
        "{{ '<|im_start|>assistant\n' }}"
    )
    assert alone.tokenizer.decode(prompter.row(words).tokens) == as_parts
    assert "hello 12<|im_end|>" in as_parts
    # a prompt is refused by name before a tower is missed
    with pytest.raises(InputError, match="prompt.modalities holds video, but .*blind has no tower"):
        Prompter(opened, None, PromptOptions())
    # and so are media that are put into one
    picture = Visual(np.zeros((4, 1176), np.float32), Grid(1, 2, 2))
    with pytest.raises(InputError, match="a prompt has pictures, but this policy has no tower"):
        build_inputs(blind, [Row([blind.image_token_id], [], [picture])])


def test_a_policy_of_three_kinds_of_parts(own, texts, clips, whisper):
    """Words, sound and frames in one prompt: transformers' Qwen3 over the embeddings of transformers' towers, the
    positions being ours."""
    config, params = own
    mel, film = np.random.default_rng(2).standard_normal((61, 128)).astype(np.float32), pixels(2, 42)
    tokens = [20, 4, *[3] * 15, 5, 8, 7, 7, 9, 30, 31]
    inputs = build_inputs(config, [Row(tokens, [mel], [], [patchify(config, film)])])
    ours = np.asarray(logits(params, None, config, inputs))[0]
    model = texts["qwen3"].model
    kind = transformers.models.qwen2_5_omni.modeling_qwen2_5_omni.Qwen2_5OmniAudioEncoder
    with torch.no_grad():
        x = model.get_input_embeddings()(torch.tensor(tokens))
        states = clips[0].vision_model(normalized(film)).last_hidden_state[:, 0].numpy()
        sees, hears = (params[tower]["proj"] for tower in ("vision", "audio"))
        x[19:21] = torch.from_numpy(states @ np.array(sees["weight"]).T + np.array(sees["bias"]))
        tower = kind._from_config(
            transformers.Qwen2_5OmniThinkerConfig(
                audio_config={
                    "num_mel_bins": 128,
                    **{
                        k: getattr(config.audio, k)
                        for k in (
                            "d_model",
                            "encoder_layers",
                            "encoder_attention_heads",
                            "encoder_ffn_dim",
                            "output_dim",
                            "n_window",
                        )
                    },
                }
            ).audio_config,
            attn_implementation="eager",
        ).eval()
        state = {
            k.replace("layer_norm", "ln_post") if k.startswith("layer_norm") else k: v
            for k, v in whisper[0].model.encoder.state_dict().items()
            if "embed_pos" not in k
        }
        state |= {f"proj.{k}": torch.from_numpy(np.array(v)) for k, v in hears.items()}
        state["conv1.weight"] = torch.from_numpy(np.array(params["audio"]["conv1"]["weight"]))
        state["audio_bos_eos_token.weight"] = tower.audio_bos_eos_token.weight
        tower.load_state_dict(state)
        x[2:17] = tower(torch.from_numpy(mel.T), feature_lens=torch.tensor([61])).last_hidden_state
        rotary = model.model.rotary_emb
        places = torch.from_numpy(inputs.positions[:, 0].astype(np.float32))
        angle = torch.cat([places[axis][:, None] * rotary.inv_freq[at] for axis, at in enumerate(
            np.split(np.arange(10), np.cumsum(config.text.mrope_section)[:2])
        )], -1)  # fmt: skip
        angle = torch.cat([angle, angle], -1)[None]
        rotary.forward = lambda *_, **__: (angle.cos(), angle.sin())
        theirs = model(inputs_embeds=x[None]).logits[0].numpy()
        del rotary.forward
    assert np.abs(ours - theirs).max() < 1e-4


def test_lora_on_every_part_of_our_own_layout(own, tmp_path):
    """An adapter on a text linear, on CLIP's layers and on both projectors: merged into the weights it does the same,
    and it is read as it was written."""
    config, params = own
    options = LoraOptions(rank=2, targets=("q_proj", "vision.q_proj", "vision.proj", "audio.proj"))
    adapter = init_adapter(config, options, jax.random.key(0))
    drawn = np.random.default_rng(0)
    weights = jax.tree.map(lambda x: 0.3 * drawn.standard_normal(x.shape).astype(np.float32), adapter.weights)
    adapter = adapter.replace(weights=weights)
    mel = np.random.default_rng(2).standard_normal((61, 128)).astype(np.float32)
    row = Row([20, 4, *[3] * 15, 5, 8, 7, 7, 9, 30], [mel], [], [patchify(config, pixels(2, 42))])
    inputs = build_inputs(config, [row])
    beside = np.asarray(logits(params, adapter, config, inputs))
    assert np.abs(beside - np.asarray(logits(merge(params, adapter), None, config, inputs))).max() < 1e-4
    for tower in ("text", "audio", "vision"):  # each of them is felt
        without = adapter.replace(weights={k: v for k, v in adapter.weights.items() if k != tower})
        assert np.abs(beside - np.asarray(logits(params, without, config, inputs))).max() > 1e-3
    peft.save_adapter(tmp_path / "adapter", config, adapter)
    again = peft.load_adapter(tmp_path / "adapter", config)
    assert jax.tree.all(jax.tree.map(np.array_equal, again.weights, adapter.weights))


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
        (dict(rope_interleaved=True), "rope_interleaved"),
        (dict(layer_types=["full_attention", "sliding_attention"]), "layer_types"),
        (dict(rope_parameters=dict(rope_type="llama3", rope_theta=1e5)), "rope_parameters.type is 'llama3'"),
        (dict(rope_scaling=dict(rope_type="llama3", factor=8.0)), "rope_scaling.type is 'llama3'"),
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
    tensors["encoder.embed_positions.weight"][:] = np.nan
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


@pytest.mark.parametrize(
    "fields, names",
    [
        (dict(model_type="siglip"), "model_type is 'siglip', but vision towers are read from clip"),
        (dict(vision_config=3), "vision_config is missing"),
        (dict(hidden_act="gelu"), "hidden_act"),
        (dict(num_hidden_layers=3), "layers.2"),
        (dict(image_size=56), "position_embedding.*shape"),
        (dict(image_size=43), "image_size is 43.*multiple of patch_size"),
        (dict(num_attention_heads=5), "multiple of num_attention_heads"),
    ],
)
def test_pictures_that_are_refused(clips, tmp_path, fields, names):
    top = {"model_type", "vision_config"} & fields.keys()
    inner = json.loads((clips[1] / "config.json").read_text())["vision_config"] | fields
    directory = edited(clips[1], tmp_path / "bad", **(fields if top else {"vision_config": inner}))
    with pytest.raises(InputError, match=f"bad.*({names})") as error:
        parts.read_vision_tower(directory, 48, jax.random.key(0))
    assert "\n" not in str(error.value)


def test_our_own_layout_names_what_is_wrong(own, tmp_path):
    hf.save(tmp_path / "good", *own)
    raw = json.loads((tmp_path / "good" / "config.json").read_text())
    wrong = {
        "text_config.model_type": (raw["text_config"], "model_type", "gemma"),
        "vision_config.tokens": (raw["vision_config"], "tokens", "all"),
        "vision_config.out_hidden_size": (raw["vision_config"], "out_hidden_size", 47),
        "audio_config.output_dim": (raw["audio_config"], "output_dim", 47),
        "text_config is missing": (raw, "text_config", None),
    }
    for names, (section, field, value) in wrong.items():
        kept = section[field]
        section[field] = value
        with pytest.raises(InputError, match=f"here.*{names}"):
            from_hf(raw, "here")
        section[field] = kept


def sight():
    return init_table(tuple(vision_table(SMALL_EYE)), jax.random.key(1))


def test_heads_of_clips_texts_share_its_width(clips, tmp_path):
    inner = json.loads((clips[1] / "config.json").read_text())["text_config"] | {"num_attention_heads": 5}
    with pytest.raises(InputError, match="text_config.hidden_size is 16, .*a multiple of 1 x 5"):
        parts.read_clip_text(edited(clips[1], tmp_path / "bad", text_config=inner))
    inner |= {"num_attention_heads": 2, "eos_token_id": 49407}
    with pytest.raises(InputError, match="text_config.eos_token_id is 49407"):
        parts.read_clip_text(edited(clips[1], tmp_path / "worse", text_config=inner))
