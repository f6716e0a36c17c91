import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emsa_jax.learning.logprobs import token_logprobs


def plain(hidden, head, targets, temperature):
    logps = jax.nn.log_softmax(jnp.einsum("...td,vd->...tv", hidden, head) / temperature)
    chosen = jnp.take_along_axis(logps, targets[..., None], -1)[..., 0]
    return chosen, -(jnp.exp(logps) * logps).sum(-1)


def example(*lead, length=11, width=8, vocabulary=37):
    keys = jax.random.split(jax.random.key(0), 3)
    hidden = jax.random.normal(keys[0], (*lead, length, width))
    head = jax.random.normal(keys[1], (vocabulary, width))
    return hidden, head, jax.random.randint(keys[2], (*lead, length), 0, vocabulary)


@pytest.mark.parametrize("lead, chunk", [((), 4), ((2,), 1), ((2, 3), 4), ((2,), 64)])
def test_equals_the_plain_computation(lead, chunk):
    hidden, head, targets = example(*lead)
    ours = token_logprobs(hidden, head, targets, 1.1, chunk)
    for got, expected in zip(ours, plain(hidden, head, targets, 1.1), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
        assert got.dtype == jnp.float32


def test_gradients_equal_the_plain_ones():
    hidden, head, targets = example(2)
    weights = jax.random.normal(jax.random.key(1), targets.shape)

    def gradients(function, *more):
        return jax.grad(lambda h, w: (function(h, w, targets, 0.7, *more)[0] * weights).sum(), (0, 1))(hidden, head)

    ours, expected = gradients(token_logprobs, 4), gradients(plain)
    for got, want in zip(ours, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_entropies_carry_no_gradient():
    hidden, head, targets = example()
    assert np.all(jax.grad(lambda h: token_logprobs(h, head, targets, 1.0, 4)[1].sum())(hidden) == 0)


def test_bfloat16_is_judged_in_float32():
    hidden, head, targets = example(2)
    low = token_logprobs(hidden.astype(jnp.bfloat16), head.astype(jnp.bfloat16), targets, 1.0, 4)[0]
    rounded = [x.astype(jnp.bfloat16).astype(jnp.float32) for x in (hidden, head)]
    np.testing.assert_allclose(low, plain(*rounded, targets, 1.0)[0], rtol=1e-4, atol=1e-4)


def test_the_logits_never_exist_whole():
    hidden, head, targets = example(length=1024, width=4, vocabulary=2048)

    def temporary(function):
        compiled = jax.jit(jax.grad(lambda h: function(h).sum())).lower(hidden).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole = 1024 * 2048 * 4
    assert temporary(lambda h: plain(h, head, targets, 1.0)[0]) > whole / 2
    assert temporary(lambda h: token_logprobs(h, head, targets, 1.0, 32)[0]) < whole / 8
