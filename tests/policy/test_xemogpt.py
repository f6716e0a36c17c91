"""XEmoGPT's rows, and the gradients that an instruction about one modality blocks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.policy.parameter_table import init_params, init_table
from emsa_jax.policy.thinker_config import BridgeConfig, TextConfig, ThinkerConfig
from emsa_jax.policy.xemogpt import (
    AUDIO,
    BOTH,
    VISUAL,
    XemogptConfig,
    bridges_table,
    embed_rows,
    hidden_states,
    lay_out,
    media_tokens,
)

TEXT = TextConfig(
    vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, mrope_section=(2, 1, 1), qkv_bias=False, qk_norm=True,
)  # fmt: skip
BRIDGE = dict(hidden_size=8, intermediate_size=12, num_attention_heads=2)
CONFIG = XemogptConfig(
    ThinkerConfig(text=TEXT, audio=None, vision=None, tie_word_embeddings=True),
    BridgeConfig(**BRIDGE, positions=4),
    BridgeConfig(**BRIDGE, positions=0),
)
PROMPTS = [[[5, 6], [7], [8, 9]], [[5], [7], [8]]]
ANSWERS, SOUND = [[11, 12, 2], [13, 2]], [3, 5]
RNG = np.random.default_rng(0)
FRAMES, STATES = RNG.standard_normal((2, 4, 8), np.float32), RNG.standard_normal((2, 5, 8), np.float32)
HEARD = np.arange(5) < np.array(SOUND)[:, None]


@pytest.fixture(scope="module")
def params():
    return init_params(CONFIG.text, jax.random.key(0)) | init_table(list(bridges_table(CONFIG)), jax.random.key(1))


def test_rows_hold_their_pieces_in_order():
    rows = lay_out(PROMPTS, ANSWERS, SOUND, 4, [BOTH, AUDIO], first=1)
    assert rows.tokens[0].tolist() == [1, 5, 6, 1, 1, 1, 7, 1, 1, 1, 1, 8, 9, 11, 12, 2]
    assert rows.media[0].tolist() == [-1, -1, -1, 0, 1, 2, -1, 5, 6, 7, 8, -1, -1, -1, -1, -1]
    assert rows.media[1].tolist() == [-1, -1, 0, 1, 2, 3, 4, -1, 5, 6, 7, 8, -1, -1, -1, -1]
    assert rows.tokens[1].tolist() == [1, 5, 1, 1, 1, 1, 1, 7, 1, 1, 1, 1, 8, 13, 2, 1]
    assert rows.mask.sum(1).tolist() == [16, 15] and rows.mask[1, :15].all()
    assert [row[keep].tolist() for row, keep in zip(rows.tokens, rows.answer, strict=True)] == ANSWERS


def test_media_stand_in_their_places(params):
    rows = lay_out(PROMPTS, ANSWERS, SOUND, 4, [BOTH, BOTH])
    heard, seen = media_tokens(params, CONFIG, FRAMES, STATES, HEARD, rows.asks)
    x = embed_rows(params, rows, heard, seen)
    np.testing.assert_array_equal(x[0, 3:6], heard[0, :3])
    np.testing.assert_array_equal(x[1, 2:7], heard[1])
    np.testing.assert_array_equal(x[0, 7:11], seen[0])
    np.testing.assert_array_equal(x[0, 11], params["text"]["embed_tokens"][8])


def loss(params, rows, take=slice(None)):
    heard, seen = media_tokens(params, CONFIG, FRAMES[take], STATES[take], HEARD[take], rows.asks)
    hidden = hidden_states(params, None, CONFIG, embed_rows(params, rows, heard, seen), rows.mask)
    return (jnp.where(rows.mask[..., None], hidden, 0) ** 3).sum()


def test_the_other_branch_gets_no_gradient_and_the_own_one_all_of_it(params):
    """Exactly zero; and what is left equals what a run gives in which the other branch's tokens are constants."""
    grad = jax.jit(jax.grad(loss))
    rows = {asks: lay_out(PROMPTS, ANSWERS, SOUND, 4, [asks, asks]) for asks in (BOTH, VISUAL, AUDIO)}
    whole = grad(params, rows[BOTH])
    for asks, own, other in ((VISUAL, "visual", "audio"), (AUDIO, "audio", "visual")):
        found = grad(params, rows[asks])
        bridges = {"visual": "vecb", "audio": "aecb"}
        for name in (bridges[other], f"{other}_project"):
            assert all(not np.any(leaf) for leaf in jax.tree.leaves(found[name])), (asks, name)
        for name in (bridges[own], f"{own}_project"):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found[name], whole[name])
            assert np.any(found[f"{own}_project"]["weight"]) and np.any(found[bridges[own]]["layers"]["fc1"]["weight"])


def test_each_row_of_a_batch_has_its_own_instruction(params):
    grad = jax.jit(jax.grad(loss))
    mixed = grad(params, lay_out(PROMPTS, ANSWERS, SOUND, 4, [AUDIO, VISUAL]))
    alone = grad(params, lay_out(PROMPTS, ANSWERS, SOUND, 4, [BOTH, VISUAL]))
    only = grad(params, lay_out(PROMPTS, ANSWERS, SOUND, 4, [AUDIO, BOTH]))
    np.testing.assert_allclose(mixed["audio_project"]["weight"], alone["audio_project"]["weight"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        mixed["visual_project"]["weight"], only["visual_project"]["weight"], rtol=1e-4, atol=1e-5
    )
