"""The bridges against layers of `transformers`, what padding and order do to them, and bridges inside of a policy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, HubertConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.models.hubert.modeling_hubert import HubertEncoderLayer

from emsa_jax.errors import InputError
from emsa_jax.policy import hf, peft
from emsa_jax.policy.bridges import clip_vectors, encode_bridge, heads_table
from emsa_jax.policy.hf_config import from_hf, to_hf
from emsa_jax.policy.inputs import build_inputs, join_inputs, smallest_shape
from emsa_jax.policy.lora import changes, init_adapter, merge
from emsa_jax.policy.parameter_table import bridge_table, get, init_params, init_table
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.positions import Grid, num_audio_tokens
from emsa_jax.policy.prompt_row import ASKS, Row, Visual
from emsa_jax.policy.thinker import encode, keeps_states, projector_features, tower_states
from emsa_jax.policy.thinker_config import AudioConfig, BridgeConfig, ClipConfig, TextConfig, ThinkerConfig
from emsa_jax.policy.xemogpt import XemogptConfig, media_tokens
from tests.policy.test_parts import randomize

SIZES = dict(hidden_size=24, intermediate_size=40, num_attention_heads=3, layer_norm_eps=1e-3)
SMALL = dict(output_size=6, text_size=5)
VECB, AECB = (BridgeConfig(**SIZES, **SMALL, positions=positions) for positions in (8, 0))
X = np.random.default_rng(1).standard_normal((2, 8, 24)).astype(np.float32)
VALID = np.arange(8) < np.array([[8], [5]])


def torch_layers(config):
    kind, settings = (CLIPEncoderLayer, CLIPVisionConfig) if config.sees else (HubertEncoderLayer, HubertConfig)
    settings = settings(**SIZES)
    settings._attn_implementation = "eager"
    return randomize(torch.nn.ModuleList(kind(settings) for _ in range(2)), 3)


def params_of(config, layers):
    """Ours, with theirs in the places of the table's names."""
    params = init_table([*bridge_table(config), *heads_table(config)], jax.random.key(0))
    state = layers.state_dict()
    for spec in bridge_table(config):
        if "layers" in spec.path:
            names = [spec.disk.partition(".")[2].format(n=n) for n in range(2)]
            get(params, spec.path[:-1])[spec.path[-1]] = jnp.stack([jnp.asarray(state[name]) for name in names])
    return params


@pytest.mark.parametrize("config", [VECB, AECB], ids=["VECB", "AECB"])
def test_states_equal(config):
    layers = torch_layers(config)
    params = params_of(config, layers)
    x, masked = torch.tensor(X), None
    if config.sees:
        x = x + torch.tensor(np.asarray(params["bridge"]["position_embedding"]))
        ours = encode_bridge(params["bridge"], config, X)
    else:
        x = x * torch.tensor(VALID)[..., None]
        masked = torch.tensor(~VALID)[:, None, None, :] * torch.finfo(x.dtype).min
        ours = encode_bridge(params["bridge"], config, X, VALID)
    with torch.no_grad():
        for layer in layers:
            x = layer(x, masked)
    wanted = x.numpy() if config.sees else x.numpy() * VALID[..., None]
    np.testing.assert_allclose(ours, wanted, atol=3e-5)


@pytest.mark.parametrize("config", [VECB, AECB], ids=["VECB", "AECB"])
def test_what_is_not_valid_counts_for_nothing(config):
    params = params_of(config, torch_layers(config))
    other = np.where(VALID[..., None], X, 100.0).astype(np.float32)
    runs = [encode_bridge(params["bridge"], config, x, VALID) for x in (X, other)]
    np.testing.assert_array_equal(*runs)
    assert not np.asarray(runs[0])[~VALID].any()
    short = encode_bridge(params["bridge"], config, X[1:, :5])
    np.testing.assert_allclose(runs[0][1, :5], short[0], atol=1e-5)
    long, cut = clip_vectors(params["heads"], config, runs[0], VALID), clip_vectors(params["heads"], config, short)
    np.testing.assert_allclose(long[1], cut[0], atol=1e-5)


def test_vecb_sees_order_and_aecb_does_not():
    order = np.array([3, 1, 0, 2, 7, 5, 6, 4])
    for config in (VECB, AECB):
        params = params_of(config, torch_layers(config))
        params["bridge"] |= {"position_embedding": jnp.asarray(X[:1])} if config.sees else {}
        one, two = (
            clip_vectors(params["heads"], config, encode_bridge(params["bridge"], config, x)) for x in (X, X[:, order])
        )
        assert np.allclose(one, two, atol=1e-4) is not config.sees


# ------------------------------------------------------------------------------ bridges inside of a policy

CLIP = ClipConfig(hidden_size=8, intermediate_size=12, num_hidden_layers=1, num_attention_heads=2, image_size=28,
                  out_hidden_size=16)  # fmt: skip
EAR = AudioConfig(d_model=8, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=12, n_window=10,
                  output_dim=16)  # fmt: skip
WORDS = TextConfig(vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
                   num_key_value_heads=1, mrope_section=(2, 1, 1), qkv_bias=False, qk_norm=True)  # fmt: skip
IDS = dict(audio_token_id=20, video_token_id=21, image_token_id=22, audio_start_token_id=23, audio_end_token_id=24,
           vision_start_token_id=25, vision_end_token_id=26, bos_token_id=1, eos_token_id=2, pad_token_id=0,
           user_token_id=3)  # fmt: skip
POLICY = ThinkerConfig(
    text=WORDS, audio=EAR, vision=CLIP, audio_bridge=BridgeConfig.after(EAR), vision_bridge=BridgeConfig.after(CLIP),
    tie_word_embeddings=True, **IDS,
)  # fmt: skip


@pytest.fixture(scope="module")
def policy():
    params = init_params(POLICY, jax.random.key(5))
    params["vision"]["bridge"]["position_embedding"] *= 50  # so that a wrong place shows
    return params


def asked(asks, shards=1):
    """Inputs of two prompts, with sound of 30 and 52 mel frames and videos of 3 and 2 frames."""
    rng, rows = np.random.default_rng(1), []
    for ask, mel, frames in zip(asks, (30, 52), (3, 2), strict=True):
        pixels = rng.standard_normal((4 * frames, CLIP.patch_dim)).astype(np.float32)
        tokens = [5, *[20] * num_audio_tokens(mel), 6, *[21] * frames, 7]
        rows.append(
            Row(tokens, [rng.standard_normal((mel, 128)).astype(np.float32)], [], [Visual(pixels, Grid(frames, 2, 2))],
                asks=ASKS.index(ask))
        )  # fmt: skip
    shape = smallest_shape(POLICY, rows)
    size = len(rows) // shards
    return join_inputs([build_inputs(POLICY, rows[i * size : (i + 1) * size], shape) for i in range(shards)])


def test_media_of_a_policy_are_those_of_xemogpt(policy):
    """Beside `xemogpt.media_tokens`, which equals recorded outputs of the published modules."""
    inputs = asked(("both", "both"))
    x = np.asarray(encode(policy, None, POLICY, inputs))
    features = projector_features(policy, None, tower_states(policy, None, POLICY, inputs))
    config = XemogptConfig(POLICY, POLICY.vision_bridge, POLICY.audio_bridge)
    names = {"vecb": ("vision", "bridge"), "aecb": ("audio", "bridge"), "visual_project": ("vision", "proj")}
    tree = {name: get(policy, path) for name, path in names.items()} | {"audio_project": policy["audio"]["proj"]}
    offset = len(features["audio"])
    for row in range(2):
        tokens, index = inputs.tokens[row], inputs.media_index[row]
        sound = features["audio"][index[tokens == 20]][None]
        frames = features["vision"][index[tokens == 21] - offset][None]
        heard, seen = media_tokens(tree, config, frames, sound, np.ones(sound.shape[:2], bool), np.zeros(1, int))
        np.testing.assert_allclose(x[row, tokens == 20], heard[0], atol=1e-5)
        np.testing.assert_allclose(x[row, tokens == 21], seen[0], atol=1e-5)
        np.testing.assert_array_equal(x[row, tokens == 6], policy["text"]["embed_tokens"][6][None])
    np.testing.assert_allclose(encode(policy, None, POLICY, asked(("both", "both"), shards=2)), x, atol=1e-5)


def test_an_instruction_about_one_branch_blocks_the_other_ones_gradient(policy):
    """Exactly zero there; elsewhere what a run gives in which the other branch's tokens are constants."""

    def loss(params, inputs, other=None):
        x = encode(params, None, POLICY, inputs)
        if other is not None:  # the whole branch taken out of what is differentiated
            x = encode(params | {other: jax.lax.stop_gradient(params[other])}, None, POLICY, inputs)
        return (x * jnp.arange(1.0, 1 + x.shape[1])[None, :, None]).sum() + (x**3).sum()

    grad = jax.jit(jax.grad(loss), static_argnums=2)
    for asks, own, other in (("visual", "vision", "audio"), ("audio", "audio", "vision")):
        found = grad(policy, asked((asks, asks)))
        trained = {name: found[other][name] for name in ("bridge", "proj")}
        assert all(not np.any(leaf) for leaf in jax.tree.leaves(trained))
        assert np.any(found[own]["bridge"]["layers"]["fc1"]["weight"]) and np.any(found[own]["proj"]["weight"])
        without = grad(policy, asked(("both", "both")), other)
        jax.tree.map(np.testing.assert_array_equal, found, without)
    mixed, visual, whole = (grad(policy, asked(a)) for a in (("visual", "both"), ("visual", "visual"), ("both",) * 2))
    assert np.any(mixed["audio"]["proj"]["weight"] != visual["audio"]["proj"]["weight"])  # of the second row alone
    assert np.any(mixed["audio"]["proj"]["weight"] != whole["audio"]["proj"]["weight"])


def test_states_of_towers_and_what_is_trained_whole_reach_the_bridge(policy):
    """Kept states give what pixels give, and the trained bridge of an adapter stands in the base's place."""
    inputs = asked(("both", "both"))
    x = encode(policy, None, POLICY, inputs)
    kept = inputs.replace(states=tower_states(policy, None, POLICY, inputs))
    np.testing.assert_array_equal(encode(policy, None, POLICY, kept), x)
    also = ("vision.bridge", "audio.bridge", "vision.proj", "audio.proj")
    adapter = init_adapter(POLICY, LoraOptions(rank=2, targets=("q_proj",), also=also), jax.random.key(0), policy)
    assert keeps_states(adapter)
    np.testing.assert_array_equal(encode(policy, adapter, POLICY, kept), x)
    fc2 = adapter.whole["vision"]["bridge"]["layers"]["fc2"]
    fc2["weight"] = fc2["weight"] + 1
    assert np.any(np.asarray(encode(policy, adapter, POLICY, kept)) != x)


def test_the_configuration_of_a_policy_with_bridges_goes_out_and_comes_back(tmp_path, policy):
    hf.save(tmp_path / "policy", POLICY, policy)
    config, params = hf.load(tmp_path / "policy")
    assert config == POLICY
    jax.tree.map(np.testing.assert_array_equal, params, policy)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(vision=replace(CLIP, tokens="patches")), "vision_bridge_config"),
        (dict(audio=replace(EAR, d_model=16)), "audio_bridge_config.hidden_size is 8"),
        (dict(audio=None), "audio_bridge_config"),
        (dict(vision_bridge=replace(POLICY.vision_bridge, positions=0)), "vision_bridge_config.positions"),
        (dict(audio_bridge=replace(POLICY.audio_bridge, num_attention_heads=3)), "multiple of 1 x 3"),
    ],
)
def test_a_bridge_that_does_not_fit_is_one_line(change, message):
    with pytest.raises(InputError, match=message):
        from_hf(to_hf(replace(POLICY, **change)))


def test_an_adapter_with_bridges_goes_out_and_comes_back(tmp_path, policy):
    """Also what is no weight or bias of a module: the learned positions."""
    also = ("vision.bridge", "audio.bridge", "vision.proj", "audio.proj")
    adapter = init_adapter(POLICY, LoraOptions(rank=2, targets=("q_proj",), also=also), jax.random.key(0), policy)
    peft.save_adapter(tmp_path / "adapter", POLICY, adapter)
    found = peft.load_adapter(tmp_path / "adapter", POLICY)
    jax.tree.map(np.testing.assert_array_equal, found.whole, adapter.whole)
    assert changes(policy, found) is False
    found.whole["vision"]["bridge"]["position_embedding"] += 1
    assert changes(policy, found)
    moved = merge(policy, found)["vision"]["bridge"]["position_embedding"]
    np.testing.assert_allclose(moved, policy["vision"]["bridge"]["position_embedding"] + 1)
