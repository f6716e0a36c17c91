"""The formulas against what XLA counts in the compiled programs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.learning.logprobs import group_logprobs
from emsa_jax.policy.clip import encode_clip
from emsa_jax.policy.flops import attention_pair, group_flops, media_flops, text_linears
from emsa_jax.policy.inputs import InputShape, build_inputs
from emsa_jax.policy.lora import init_adapter, linear_specs
from emsa_jax.policy.parameter_table import init_params
from emsa_jax.policy.policy_options import LoraOptions
from emsa_jax.policy.prompt_row import Row, expand, patchify
from emsa_jax.policy.thinker import Prompts, encode
from emsa_jax.policy.thinker_config import AudioConfig, ClipConfig, TextConfig, ThinkerConfig, VisionConfig

# one layer each: XLA counts the body of a loop once
CONFIG = ThinkerConfig(
    text=TextConfig(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        mrope_section=(4, 6, 6),
    ),
    audio=AudioConfig(
        d_model=64, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=128, n_window=20, output_dim=128
    ),
    vision=VisionConfig(
        depth=1, hidden_size=64, intermediate_size=128, num_heads=2, fullatt_block_indexes=(0,), out_hidden_size=128
    ),
    pad_token_id=0,
    eos_token_id=1,
    bos_token_id=2,
    user_token_id=3,
    audio_token_id=10,
    image_token_id=11,
    video_token_id=12,
    audio_start_token_id=13,
    audio_end_token_id=14,
    vision_start_token_id=15,
    vision_end_token_id=16,
)
N, G, P, C = 2, 3, 40, 24


def counted(function, *arguments):
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


@pytest.fixture(scope="module")
def policy():
    return init_params(CONFIG, jax.random.key(0)), init_adapter(CONFIG, LoraOptions(rank=8), jax.random.key(1))


@pytest.fixture(scope="module")
def prompts():
    rng = np.random.default_rng(0)
    inputs = build_inputs(CONFIG, [Row(rng.integers(32, 512, P).tolist()) for _ in range(N)], InputShape(P))
    x = jnp.asarray(rng.standard_normal((N, P, 128)), jnp.float32)
    return inputs, Prompts(x, jnp.ones((N, P), bool), jnp.broadcast_to(jnp.arange(P), (N, 3, P)), jnp.full((N, 3), P))


def masked_pairs(lengths):
    """FLOPs that a program spends on pairs which the causal mask rules out; the formulas leave them out."""
    away = N * P * (P - 1) / 2 + (lengths * (lengths - 1) / 2).sum()
    return 4 * CONFIG.text.hidden_size * away


def test_a_forward_and_an_update(policy, prompts):
    base, adapter = policy
    inputs, encoded = prompts
    lengths, tokens = np.full((N, G), C), jnp.ones((N, G, C), jnp.int32)
    expected = group_flops(CONFIG, adapter, inputs, lengths)

    def loss(adapter, x, base):
        return group_logprobs(base, adapter, CONFIG, encoded.replace(x=x), tokens, chunk=C)[0].sum()

    forward = counted(loss, adapter, encoded.x, base) - masked_pairs(lengths)
    assert expected.reference == pytest.approx(forward, rel=0.04)
    update = counted(jax.grad(loss, argnums=(0, 1)), adapter, encoded.x, base) - 3 * masked_pairs(lengths)
    assert expected.update == pytest.approx(update, rel=0.04)
    assert expected.prefill + expected.decode == pytest.approx(expected.reference)


def test_more_answers_do_not_compute_the_prompt_again(policy, prompts):
    _, adapter = policy
    inputs, _ = prompts
    of = {g: group_flops(CONFIG, adapter, inputs, np.full((N, g), C)) for g in (1, 2, 4)}
    assert of[1].prefill == of[2].prefill == of[4].prefill
    assert of[4].update - of[2].update == pytest.approx(2 * (of[2].update - of[1].update))
    assert of[2].update < 2 * of[1].update and of[1].encode == 0
    shorter = np.array([[C, 0], [C, 0]])
    assert group_flops(CONFIG, adapter, inputs, shorter) == of[1]


@pytest.mark.parametrize("tokens, projected", [("cls", 3), ("patches", 12)])
def test_clip(tokens, projected):
    eye = ClipConfig(64, 128, 1, 2, 3, 28, 14, 1e-5, tokens, 128)
    config = dataclasses.replace(CONFIG, vision=eye)
    film = patchify(config, np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), np.uint8))
    inputs = build_inputs(config, [Row(expand(config, [12], (), (), [film]), [], [], [film])])
    params = init_params(config, jax.random.key(0))["vision"]
    found = counted(lambda p, x: encode_clip(p, None, eye, x), params, inputs.patches)
    assert media_flops(config, inputs) == pytest.approx(found, rel=0.06)
    assert inputs.media_index.size == projected
    assert media_flops(dataclasses.replace(CONFIG, vision=None, audio=None), inputs) == 0


def test_heads_wider_than_the_states():
    """Qwen3's head_dim: queries, output projection and attention are as wide as the heads together."""
    wide = dataclasses.replace(CONFIG, text=dataclasses.replace(CONFIG.text, head_dim=64))
    linears = sum(np.prod(spec.shape) for spec in linear_specs(wide).values() if spec.path[0] == "text" and spec.layers)
    assert text_linears(wide) == linears
    assert attention_pair(wide) == 2 * attention_pair(CONFIG)


def test_towers(policy):
    base, _ = policy
    rng = np.random.default_rng(0)
    frames, mel = rng.integers(0, 256, (4, 112, 112, 3), np.uint8), rng.standard_normal((80, 128)).astype(np.float32)
    video = patchify(CONFIG, frames)
    tokens = [15, 12, 16, 13, 10, 14]
    both = Row(expand(CONFIG, tokens, [mel], (), [video]), [mel], [], [video])
    inputs = build_inputs(CONFIG, [both], InputShape(80, 2, 2, 64))
    unpadded = counted(lambda base, inputs: encode(base, None, CONFIG, inputs), base, inputs)
    assert media_flops(CONFIG, inputs) == pytest.approx(unpadded, rel=0.06)  # gelu weighs more in narrow layers
    roomy = build_inputs(CONFIG, [both], InputShape(80, 5, 7, 64))
    assert media_flops(CONFIG, roomy) == media_flops(CONFIG, inputs)
    sound = build_inputs(CONFIG, [Row(expand(CONFIG, [13, 10, 14], [mel]), [mel])], InputShape(80, 2, 0, 0))
    video_alone = media_flops(CONFIG, inputs) - media_flops(CONFIG, sound)
    windowed = dataclasses.replace(CONFIG, vision=dataclasses.replace(CONFIG.vision, fullatt_block_indexes=()))
    saved = video_alone - (media_flops(windowed, inputs) - media_flops(windowed, sound))
    assert saved == 4 * 64 * 2 * 64 * 64 - 4 * 64 * 2 * (64 * 64)  # a frame of 112 pixels is one window
