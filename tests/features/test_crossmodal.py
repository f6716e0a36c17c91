import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from emsa_jax.features.crossmodal import CrossEncoder, Rates, sinusoids

WIDTH, HEADS, LAYERS = 12, 3, 2
RNG = np.random.default_rng(0)


class Layer(torch.nn.Module):
    """A layer out of torch's own attention, with the names of the public code."""

    def __init__(self):
        super().__init__()
        self.self_attn = torch.nn.MultiheadAttention(WIDTH, HEADS)
        self.fc1, self.fc2 = torch.nn.Linear(WIDTH, 4 * WIDTH), torch.nn.Linear(4 * WIDTH, WIDTH)
        self.layer_norms = torch.nn.ModuleList(torch.nn.LayerNorm(WIDTH) for _ in range(2))

    def forward(self, x, source):
        g = self.layer_norms[0](source if source is not None else x)
        steps, keys = len(x), len(g)
        hidden = torch.ones(steps, keys, dtype=torch.bool).triu(1 + abs(steps - keys))
        x = x + self.self_attn(self.layer_norms[0](x), g, g, attn_mask=hidden, need_weights=False)[0]
        return x + self.fc2(torch.relu(self.fc1(self.layer_norms[1](x))))


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(Layer() for _ in range(LAYERS))
        self.layer_norm = torch.nn.LayerNorm(WIDTH)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.4)

    def forward(self, query, source):
        x, y = (None if z is None else math.sqrt(WIDTH) * z.transpose(0, 1) for z in (query, source))
        for layer in self.layers:
            x = layer(x, y)
        return self.layer_norm(x).transpose(0, 1)


def tree_of(module):
    tree = {}
    for name, value in module.named_parameters():
        layer, _, rest = name.partition(".")
        if layer == "layers":
            number, _, rest = rest.partition(".")
            layer = f"layers.{number}"
        owner, _, leaf = rest.rpartition(".")
        node = tree.setdefault(layer, {})
        for part in [owner.replace("layer_norms.", "layer_norms.")] if owner and "out_proj" not in owner else []:
            node = node.setdefault(part, {})
        if "out_proj" in owner:
            node = node.setdefault("self_attn", {}).setdefault("out_proj", {})
        node[leaf] = jnp.asarray(value.detach().numpy())
    return tree


@pytest.mark.parametrize("steps", [(5, 9), (9, 5), (7, 7), (6, None)])
def test_an_encoder_is_that_of_torch(steps):
    theirs = Encoder()
    query = RNG.normal(size=(2, steps[0], WIDTH)).astype(np.float32)
    source = None if steps[1] is None else RNG.normal(size=(2, steps[1], WIDTH)).astype(np.float32)
    given = (None if x is None else torch.tensor(x) for x in (query, source))
    expected = theirs(*given).detach().numpy()
    params = {"params": tree_of(theirs)}
    whole = CrossEncoder(LAYERS, HEADS, Rates()).apply(params, query, source, False)
    np.testing.assert_allclose(whole, expected, atol=2e-5)
    last = CrossEncoder(LAYERS, HEADS, Rates(), last=True).apply(params, query, source, False)
    np.testing.assert_allclose(last, expected[:, -1], atol=2e-5)


def test_positions_count_from_one_and_padding_has_none():
    x = np.ones((2, 4, 7), np.float32)
    x[1, :2, 0] = 0
    found = np.asarray(sinusoids(jnp.asarray(x)))
    rates = 10000.0 ** (-np.arange(3) / 2)
    np.testing.assert_allclose(found[0, 2], [*np.sin(3 * rates), *np.cos(3 * rates), 0], atol=1e-6)
    assert (found[1, :2] == 0).all() and (found[1, 2:] == found[0, 2:]).all()


@pytest.mark.parametrize("rates", [Rates(attention=0.5), Rates(embed=0.5), Rates(relu=0.5), Rates(residual=0.5)])
def test_every_rate_drops_something(rates):
    x = jnp.asarray(RNG.normal(size=(2, 5, WIDTH)), jnp.float32)
    encoder = CrossEncoder(1, HEADS, rates)
    params = encoder.init(jax.random.key(0), x, None, False)
    plain = encoder.apply(params, x, None, False)
    dropped = encoder.apply(params, x, None, True, rngs={"dropout": jax.random.key(0)})
    assert float(jnp.abs(plain - dropped).max()) > 1e-3
