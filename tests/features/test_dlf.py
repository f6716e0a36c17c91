import jax
import jax.numpy as jnp
import numpy as np

from emsa_jax.features.dlf import DLF, DLFOptions, dlf_loss, triplet_loss, unused_tensors

RNG = np.random.default_rng(0)
OPTIONS = DLFOptions(width=8, heads=2, levels=1, kernels=(3, 3, 3), orthogonal=4)
WITHOUT = DLFOptions(**vars(OPTIONS) | dict(attention=(0.0,) * 3, relu=0.0, embed=0.0, text=0.0, output=0.0))


def slow_triplets(vectors, labels):
    """The definition, pair by pair."""
    x, y = vectors.reshape(-1, vectors.shape[-1]), np.repeat(labels, 3)

    def cosine(i, j):
        sizes = [np.sqrt((x[k] ** 2).sum() + 1e-8) for k in (i, j)]
        return x[i] @ x[j] / (sizes[0] * sizes[1])

    anchors = []
    for i in range(len(x)):
        pairs = [
            max(0.0, 0.15 * abs(y[i] - y[n]) - cosine(i, p) + cosine(i, n))
            for p in range(len(x))
            for n in range(len(x))
            if p != i and y[p] == y[i] and y[n] != y[i]
        ]
        anchors += [np.mean(pairs)] if pairs else []
    return np.mean(anchors) if anchors else 0.0


def test_triplets_are_those_of_the_definition_and_fill_rows_are_none():
    vectors, labels = RNG.normal(size=(4, 3, 5)), np.array([0.5, -1.0, 0.5, 0.2])
    expected = slow_triplets(vectors, labels)
    assert expected > 0.1
    ones = np.ones(4)
    np.testing.assert_allclose(triplet_loss(*map(jnp.asarray, (vectors, labels, ones))), expected, rtol=1e-5)
    filled = np.concatenate([vectors, 5 * RNG.normal(size=(2, 3, 5))])
    given = (filled, np.append(labels, [0.5, 3.0]), np.append(ones, [0, 0]))
    np.testing.assert_allclose(triplet_loss(*map(jnp.asarray, given)), expected, rtol=1e-5)
    same = triplet_loss(jnp.asarray(vectors), jnp.ones(4), jnp.ones(4))
    assert float(same) == 0


def batch(rows):
    return [jnp.asarray(RNG.normal(size=(rows, 6, d)), jnp.float32) for d in (7, 5, 9)]


def test_the_loss_leaves_fill_rows_out_of_every_part():
    inputs = batch(5)
    network = DLF(WITHOUT)
    params = jax.jit(lambda *x: network.init(jax.random.key(0), *x, False))(*inputs)
    labels, weight = jnp.array([[0.4], [0.4], [-1.0], [0.4], [2.0]]), jnp.array([1.0, 1, 1, 0, 0])

    @jax.jit
    def both(inputs, labels):
        outputs = network.apply(params, *inputs, False)
        return outputs, dlf_loss(outputs, labels, weight, WITHOUT)

    outputs, plain = both(inputs, labels)
    np.testing.assert_allclose(plain["task_final"], np.abs(outputs["output_logit"] - labels)[:3].mean(), rtol=1e-5)
    recon = np.square(outputs["recon_a"] - outputs["origin_a"])[:3].mean()
    np.testing.assert_allclose(plain["recon_a"], recon, rtol=1e-4)
    _, other = both([x.at[3:].multiply(3) for x in inputs], labels.at[3:].set(-1.0))
    assert other.keys() == plain.keys()
    for name, value in plain.items():
        np.testing.assert_allclose(other[name], value, atol=2e-6, err_msg=name)


def test_what_the_public_code_never_trains_is_named():
    unused = unused_tensors(OPTIONS, {m: 4 for m in "lav"})
    assert unused["proj2_a_low.weight"] == (32, 8) and unused["out_layer_v_low.bias"] == (1,)
    assert unused["trans_v_with_a.layers.0.self_attn.in_proj_weight"] == (24, 8)
    assert len(unused) == 24 + 4 * 14
    made = DLF(OPTIONS).init(jax.random.key(0), *batch(1), False)["params"]
    assert not set(made) & {name.split(".")[0] for name in unused}
