"""The bridges against layers of `transformers`, and what padding and order do to them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, HubertConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer
from transformers.models.hubert.modeling_hubert import HubertEncoderLayer

from emsa_jax.policy.bridges import BridgeConfig, bridge_table, clip_vectors, encode_bridge, heads_table
from emsa_jax.policy.parameter_table import get, init_table
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
