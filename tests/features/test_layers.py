import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from emsa_jax.features.layers import LayerNorm, Linear, TimeConv, dropout

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 11, 8)).astype(np.float32)


def applied(module, params, *inputs):
    return np.asarray(module.apply({"params": jax.tree.map(jnp.asarray, params)}, *inputs))


def parameters(torch_module):
    return {name: value.detach().numpy() for name, value in torch_module.named_parameters()}


@pytest.mark.parametrize(
    "ours, theirs",
    [
        (Linear(5), torch.nn.Linear(8, 5)),
        (Linear(5, bias=False), torch.nn.Linear(8, 5, bias=False)),
        (LayerNorm(), torch.nn.LayerNorm(8)),
    ],
)
def test_layers_are_those_of_torch_under_their_names(ours, theirs):
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_()
    expected = theirs(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(applied(ours, parameters(theirs), X), expected, atol=2e-6)
    made = ours.init(jax.random.key(0), X)["params"]
    assert {n: v.shape for n, v in made.items()} == {n: v.shape for n, v in parameters(theirs).items()}


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_convolution_over_time_is_that_of_torch(kernel):
    theirs = torch.nn.Conv1d(8, 6, kernel, bias=False)
    expected = theirs(torch.tensor(X).transpose(1, 2)).transpose(1, 2).detach().numpy()
    np.testing.assert_allclose(applied(TimeConv(6, kernel), parameters(theirs), X), expected, atol=2e-6)


def test_initial_values_are_spread_as_those_of_torch():
    weight = np.asarray(Linear(400).init(jax.random.key(1), jnp.zeros((1, 100)))["params"]["weight"])
    theirs = torch.nn.Linear(100, 400).weight.detach().numpy()
    assert abs(weight).max() <= 0.1 and abs(weight.std() - theirs.std()) < 1e-3


class Dropped(nn.Module):
    rate: float

    @nn.compact
    def __call__(self, x, train):
        return dropout(self, x, self.rate, train)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_the_mean_and_drops_its_share(rate):
    x = jnp.ones((301, 333))
    y = Dropped(rate).apply({}, x, True, rngs={"dropout": jax.random.key(3)})
    assert set(np.unique(y).round(5)) == {0.0, np.float32(1 / (1 - rate)).round(5)}
    assert abs(float((y == 0).mean()) - rate) < 5e-3
    other = Dropped(rate).apply({}, x, True, rngs={"dropout": jax.random.key(4)})
    assert (np.asarray(other) != np.asarray(y)).any()
    assert (Dropped(rate).apply({}, x, False) == x).all()
