import jax
import jax.numpy as jnp
import numpy as np
import torch

from emsa_jax.features.almt import ALMT, ALMTOptions, HyperAttention, NormedAttention

RNG = np.random.default_rng(0)
OPTIONS = ALMTOptions(8, 2, (1, 2, 1), (6, 7, 5), 1, 2, 1, 2, 3)


def inputs(rows=2, steps=5):
    return [jnp.asarray(RNG.normal(size=(rows, steps, d)), jnp.float32) for d in (7, 5, 9)]


def norm(x, params):
    return torch.nn.functional.layer_norm(x, x.shape[-1:], params["weight"], params["bias"])


def attend(q, k, v, heads):
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def randomised(tree):
    """Other values than the initial ones, which are 0 or 1 for biases and norms."""
    leaves, structure = jax.tree.flatten(tree)
    return structure.unflatten([jnp.asarray(RNG.normal(size=leaf.shape), jnp.float32) for leaf in leaves])


def torched(tree):
    return jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), tree)


def test_attention_norms_queries_keys_and_values_apart_and_has_heads_of_64():
    query, source = (jnp.asarray(RNG.normal(size=(2, t, 8)), jnp.float32) for t in (3, 5))
    params = randomised(NormedAttention(2).init(jax.random.key(0), query, source)["params"])
    assert params["fn.to_q"]["weight"].shape == (128, 8)
    p, q, s = torched(params), torch.tensor(np.asarray(query)), torch.tensor(np.asarray(source))
    inner = attend(
        norm(q, p["norm_q"]) @ p["fn.to_q"]["weight"].T,
        norm(s, p["norm_k"]) @ p["fn.to_k"]["weight"].T,
        norm(s, p["norm_v"]) @ p["fn.to_v"]["weight"].T,
        2,
    )
    expected = inner @ p["fn.to_out.0"]["weight"].T + p["fn.to_out.0"]["bias"]
    found = NormedAttention(2).apply({"params": params}, query, source)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_a_layer_of_the_hyper_modality_adds_to_the_normed_one():
    text, audio, vision, hyper = (jnp.asarray(RNG.normal(size=(2, 4, 6)), jnp.float32) for _ in range(4))
    module = HyperAttention(2, 3)
    params = randomised(module.init(jax.random.key(0), text, audio, vision, hyper)["params"])
    p = torched(params)
    t, a, v, h = (
        norm(torch.tensor(np.asarray(x)), p[f"norm{i}"]) for i, x in enumerate((text, audio, vision, hyper), 1)
    )
    to = lambda name, x: x @ p[f"fn.to_{name}"]["weight"].T  # noqa: E731
    found = attend(to("q", t), to("k_ta", a), to("v_ta", a), 2) + attend(to("q", t), to("k_tv", v), to("v_tv", v), 2)
    expected = h + found @ p["fn.to_out.0"]["weight"].T + p["fn.to_out.0"]["bias"]
    ours = module.apply({"params": params}, text, audio, vision, hyper)
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3)


def test_parameters_begin_as_the_public_code_has_them():
    params = ALMT(OPTIONS).init(jax.random.key(0), *inputs(), False)["params"]
    assert (params["h_hyper"] == 1).all() and params["h_hyper"].shape == (1, 2, 8)
    assert (params["fusion_layer"]["extra_token"] == 0).all()
    assert params["proj_l"]["1"]["pos_embedding"].shape == (1, 7, 8)
    assert 0.6 < float(params["proj_l"]["1"]["pos_embedding"].std()) < 1.4


def test_every_modality_counts():
    given = inputs()
    network = ALMT(OPTIONS)
    params = network.init(jax.random.key(0), *given, False)
    plain = network.apply(params, *given, False)["M"]
    for i in range(3):
        changed = [x + 1.0 * (np.arange(5) == 2)[:, None] if i == j else x for j, x in enumerate(given)]
        assert float(jnp.abs(network.apply(params, *changed, False)["M"] - plain).max()) > 1e-6
